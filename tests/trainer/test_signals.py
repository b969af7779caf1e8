"""A signal says a word: while a run loads, and as a second one while it learns."""

import os
import signal
import subprocess
import sys

import pytest

from tests.trainer.conftest import ROOT
from trainer.runs import read_events, read_status, systems
from trainer.runs.systems import EndedBySignalError, end_on_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# The command line, which waits where the test wants the signal.
WAITING = """
import signal, sys, time
from app.cli import main
from trainer.commands import training
from trainer.training import loop

def wait(*_args, **_kwargs):
    print("here", flush=True)
    time.sleep(900)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may run the tests, ignores it
if sys.argv.pop(1) == "loading":
    training.open_session = wait
else:
    loop.take_step = wait
sys.exit(main())
"""


def start(run, place):
    command = [sys.executable, "-c", WAITING, place, "train", str(run.path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    assert "here\n" in iter(process.stdout.readline, "")
    return process


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_while_a_run_loads_is_its_end(make_run, name):
    run = make_run()
    process = start(run, "loading")
    process.send_signal(getattr(signal, name))
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"was ended by {name}" in complaint
    assert "Traceback" not in complaint
    assert (read_status(run.path).state, name in read_status(run.path).message) == ("failed", True)
    assert not (run.path / "process.json").exists()


def test_a_second_signal_while_a_run_learns_is_its_end(make_run):
    run = make_run()
    process = start(run, "learning")
    process.send_signal(signal.SIGTERM)
    while not (run.path / "control" / "stop").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "was ended by SIGTERM" in complaint
    assert read_events(run.events_path)[-1]["reason"] == "failed"


def test_signals_are_as_before_behind_the_block():
    before = {each: signal.getsignal(each) for each in systems.list_stop_signals()}
    with pytest.raises(EndedBySignalError, match="SIGTERM"), end_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert {each: signal.getsignal(each) for each in before} == before


def test_a_signal_that_is_ignored_stays_ignored():
    known = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with end_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, known)
