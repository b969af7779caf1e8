"""Processes as each system has them: flags by number, signals that exist, an end within limits."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from tests.trainer.conftest import ROOT
from trainer.memory import measure
from trainer.runs import (
    append_event,
    create_run,
    end_run,
    find_owner,
    is_alive,
    process,
    read_age,
    read_requests,
    read_status,
    request,
    spawn,
    systems,
)

DETACHED = 0x08000200  # CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP
DETACHED_OUT_OF_THE_JOB = 0x09000200  # and CREATE_BREAKAWAY_FROM_JOB


@pytest.fixture
def starts(monkeypatch):
    """Records what Popen is given instead of starting something; `refused` flags are denied."""
    calls = SimpleNamespace(options=[], refused=set())

    def popen(command, **options):
        calls.options.append(options)
        if options.get("creationflags") in calls.refused:
            raise PermissionError(13, "Access is denied")
        return SimpleNamespace(pid=4711)

    monkeypatch.setattr(process.subprocess, "Popen", popen)
    return calls


def test_a_process_on_windows_has_a_console_of_its_own_and_leaves_the_job(tmp_path, starts):
    assert spawn(["python"], tmp_path / "log.txt", system="win32") == 4711
    (options,) = starts.options
    assert options["creationflags"] == DETACHED_OUT_OF_THE_JOB
    assert "start_new_session" not in options


def test_a_job_that_lets_nobody_leave_still_starts_the_process(tmp_path, starts):
    starts.refused = {DETACHED_OUT_OF_THE_JOB}
    assert spawn(["python"], tmp_path / "log.txt", system="win32") == 4711
    assert [one["creationflags"] for one in starts.options] == [DETACHED_OUT_OF_THE_JOB, DETACHED]


@pytest.mark.parametrize("system", ["win32", "linux"])
def test_a_program_that_may_not_be_started_is_reported(tmp_path, starts, system):
    starts.refused = {DETACHED_OUT_OF_THE_JOB, DETACHED, None}
    with pytest.raises(PermissionError):
        spawn(["python"], tmp_path / "log.txt", system=system)


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_a_process_elsewhere_has_a_session_of_its_own(tmp_path, starts, system):
    spawn(["python"], tmp_path / "log.txt", system=system)
    (options,) = starts.options
    assert options["start_new_session"] is True
    assert "creationflags" not in options


def test_what_a_process_prints_is_utf_8_whatever_the_code_page(tmp_path):
    command = [sys.executable, "-c", "import sys; print(sys.stdout.encoding, 'ž→猫')"]
    spawn(command, tmp_path / "log.txt", tmp_path / "answer.txt")
    end = time.monotonic() + 60
    while not (text := (tmp_path / "answer.txt").read_bytes()) and time.monotonic() < end:
        time.sleep(0.05)
    assert text.decode("utf-8").split() == ["utf-8", "ž→猫"]


@pytest.mark.parametrize(("system", "last"), [("linux", "SIGHUP"), ("win32", "SIGBREAK")])
def test_only_signals_of_the_system_are_used(system, last, monkeypatch):
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    expected = [signal.SIGINT, signal.SIGTERM, getattr(signal, last)]
    assert systems.list_stop_signals(system) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_asks_and_the_second_ends(name):
    number, asked, ends = getattr(signal, name), [], []
    before = signal.signal(number, lambda *_: ends.append(1))
    try:
        with systems.stop_on_signals(lambda: asked.append(1)):
            os.kill(os.getpid(), number)
            assert (asked, ends) == ([1], [])
            os.kill(os.getpid(), number)
            assert (asked, ends) == ([1], [1])
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_run_under_nohup_ignores_the_end_of_its_terminal():
    before, asked = signal.signal(signal.SIGHUP, signal.SIG_IGN), []
    try:
        with systems.stop_on_signals(lambda: asked.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == []
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class FakeConsole:
    """A Windows console: it calls its handlers in another thread."""

    def __init__(self):
        self.handlers, self.answers = [], []

    def set_handler(self, handler, add):
        (self.handlers.append if add else self.handlers.remove)(handler)

    def send(self, event):
        def call():
            self.answers.append((self.handlers[0](event), time.monotonic()))

        thread = threading.Thread(target=call)
        thread.start()
        return thread


@pytest.mark.parametrize("event", [2, 5, 6])
def test_a_console_that_is_closed_waits_until_the_run_has_stopped(event):
    console, asked = FakeConsole(), threading.Event()
    with systems.stop_on_closing(asked.set, console.set_handler):
        thread = console.send(event)
        assert asked.wait(60)
        time.sleep(0.2)  # what is still done after the request: a checkpoint
        done = time.monotonic()
    thread.join(60)
    ((answer, returned),) = console.answers
    assert answer is True
    assert returned >= done
    assert console.handlers == []


@pytest.mark.parametrize("event", [0, 1])
def test_ctrl_c_and_ctrl_break_are_left_to_the_signals(event):
    console, asked = FakeConsole(), []
    with systems.stop_on_closing(lambda: asked.append(1), console.set_handler):
        console.send(event).join(60)
    assert [answer for answer, _ in console.answers] == [False]
    assert asked == []


def test_a_run_that_takes_too_long_does_not_hold_the_console(monkeypatch):
    monkeypatch.setattr(systems, "CLOSING_SECONDS", 0.05)
    console = FakeConsole()
    with systems.stop_on_closing(lambda: None, console.set_handler):
        console.send(2).join(60)
        assert [answer for answer, _ in console.answers] == [True]


def test_handlers_of_windows_consoles_stay_alive_while_they_are_set(monkeypatch):
    calls = []
    kernel = SimpleNamespace(SetConsoleCtrlHandler=lambda *values: calls.append(values))
    monkeypatch.setattr(systems.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_args, **_options: kernel, raising=False)
    monkeypatch.setattr(ctypes, "WINFUNCTYPE", lambda *_types: lambda f: (f,), raising=False)
    set_handler = systems.find_console()

    def handler(_event):
        return True

    set_handler(handler, True)
    set_handler(handler, False)
    (added, one), (removed, zero) = calls
    assert (one, zero) == (1, 0)
    assert added is removed


@pytest.mark.parametrize(
    ("system", "expected"), [("linux", 3 * 1024), ("darwin", 3), ("win32", 77)]
)
def test_peak_memory_is_read_in_the_units_of_the_system(monkeypatch, system, expected):
    resource = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _who: SimpleNamespace(ru_maxrss=3))
    facts = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=77))
    monkeypatch.setitem(sys.modules, "resource", None if system == "win32" else resource)
    monkeypatch.setattr(psutil, "Process", lambda: facts)
    monkeypatch.setattr(measure.sys, "platform", system)
    assert measure.peak_resident_bytes() == expected


WORKER = """
import signal, subprocess, sys, time
from pathlib import Path
from trainer.runs import own_folder
for name in ("SIGINT", "SIGTERM"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with own_folder(Path(sys.argv[1])):
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def deaf_run(tmp_path):
    """A run whose process obeys neither files nor signals, and the pid of what it started."""
    from trainer.config import RunConfig

    run = create_run(tmp_path, RunConfig(name="deaf"))
    append_event(run.events_path, "started", from_step=0, steps=10)
    command = [sys.executable, "-c", WORKER, str(run.path)]
    worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    yield run, int(worker.stdout.readline())
    worker.kill()
    worker.wait()


def test_a_run_that_obeys_nothing_is_ended_with_what_it_started(deaf_run, monkeypatch):
    run, child = deaf_run
    monkeypatch.setattr("trainer.runs.process.ENDING_SECONDS", 0.5)
    request(run.path, "stop")
    assert is_alive(find_owner(run.path))
    end_run(run)
    assert not is_alive(find_owner(run.path))
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    status = read_status(run.path)
    assert status.state == "stopped"
    assert "did not stop by itself" in status.message
    assert read_requests(run.path) == set()


def test_ask_ends_a_run_after_the_time_limit(deaf_run, capsys, monkeypatch):
    from app.cli import main

    monkeypatch.setattr("trainer.runs.process.ENDING_SECONDS", 0.5)
    run, _ = deaf_run
    assert main(["ask", str(run.path), "pause", "--within", "1"]) == 2
    assert "is a time limit of stop" in capsys.readouterr().err
    assert main(["ask", str(run.path), "stop", "--within", "0.3"]) == 0
    assert "did not stop within 0.3 seconds" in capsys.readouterr().out
    assert read_status(run.path).state == "stopped"


def test_a_run_of_another_computer_is_never_ended(tmp_path, monkeypatch):
    from trainer.config import RunConfig

    run = create_run(tmp_path, RunConfig(name="far"))
    owner = {"pid": os.getpid(), "started": 0.0, "host": "elsewhere", "command": []}
    (run.path / "process.json").write_text(json.dumps(owner), encoding="utf-8")
    monkeypatch.setattr(psutil.Process, "terminate", lambda _self: pytest.fail("ended a process"))
    assert not process.end_process(find_owner(run.path))
    end_run(run)
    assert read_status(run.path).state == "running"  # as far as anyone here can know


def test_asking_again_does_not_start_the_time_anew(tmp_path):
    assert read_age(tmp_path, "stop") == 0
    request(tmp_path, "stop")
    stamp = time.time() - 100
    os.utime(tmp_path / "control" / "stop", (stamp, stamp))
    request(tmp_path, "stop")
    assert 100 <= read_age(tmp_path, "stop") < 160


POSIX_ONLY = ["curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios"]
BLOCKER = """
import builtins, json, os, sys
real, root, names = builtins.__import__, sys.argv[1], set(json.loads(sys.argv[2]))

def import_without(name, globals=None, locals=None, fromlist=(), level=0):
    # The standard library and the dependencies have versions of their own for Windows.
    importer = os.path.realpath((globals or {}).get("__file__") or "")
    ours = importer.startswith(root) and "site-packages" not in importer
    if level == 0 and name.split(".")[0] in names and ours:
        raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = import_without
from app.cli import main
sys.exit(main(sys.argv[3:]))
"""


def run_blocked(names, *words):
    """Runs a command of ours in a process where our code cannot import some modules."""
    command = [sys.executable, "-c", BLOCKER, f"{ROOT}{os.sep}", json.dumps(names), *words]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(600)
def test_a_run_trains_without_the_modules_that_windows_lacks(make_run):
    run = make_run("train.steps=1")
    done = run_blocked(POSIX_ONLY, "train", str(run.path))
    assert done.returncode == 0, done.stderr
    assert (run.path / "pico.safetensors").is_file()


def test_the_blocker_blocks():
    done = run_blocked(["trainer"], "status")
    assert done.returncode != 0
    assert "on Windows" in done.stderr
