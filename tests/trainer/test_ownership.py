"""Who works on a folder: a lock decides, whatever numbers, names of hosts and clocks say."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import filelock
import psutil
import pytest

from tests.trainer.conftest import ROOT
from trainer.runs import RunError, find_owner, is_alive, is_owned, own_folder, ownership
from trainer.runs.process import Owner, describe_process, read_owner

HOLD = """
import sys
from pathlib import Path
from trainer.runs import ownership
ownership.BEAT_SECONDS = float(sys.argv[2])
with ownership.own_folder(Path(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.read()
"""


def hold(folder, beat=10.0):
    """Starts a process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(beat)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "mine\n", process.communicate()[1]
    return process


@pytest.fixture
def held(tmp_path):
    process = hold(tmp_path)
    yield process
    process.kill()
    process.communicate()


def change(folder, **values):
    """Changes what process.json says."""
    path = folder / "process.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def put_foreign(folder, silence):
    """Writes an owner on another computer, whose last sign of life is that many seconds old."""
    owner = replace(describe_process(os.getpid(), ["train"]), host="attic", boot="another")
    (folder / "process.json").write_text(json.dumps(asdict(owner)))
    moment = time.time() - silence
    os.utime(folder / "process.json", (moment, moment))


def test_a_process_that_was_killed_owns_nothing(tmp_path, held):
    assert is_owned(tmp_path)
    with pytest.raises(RunError, match=f"process {held.pid}"), own_folder(tmp_path):
        pass
    held.kill()
    held.wait()
    assert find_owner(tmp_path) is not None
    assert not is_owned(tmp_path)
    with own_folder(tmp_path):
        assert is_owned(tmp_path)
    assert not is_owned(tmp_path)
    assert not (tmp_path / "process.json").exists()


def test_a_renamed_computer_changes_nothing(tmp_path, held):
    change(tmp_path, host="its-former-name")
    assert is_owned(tmp_path)
    assert is_alive(find_owner(tmp_path))
    with pytest.raises(RunError, match="its-former-name"), own_folder(tmp_path):
        pass
    held.kill()
    held.wait()
    assert not is_owned(tmp_path)
    with own_folder(tmp_path):
        pass


def test_a_clock_that_is_set_changes_nothing(tmp_path, held, monkeypatch):
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3600)
    assert is_owned(tmp_path)
    with pytest.raises(RunError, match="already being worked on"), own_folder(tmp_path):
        pass
    if find_owner(tmp_path).ticks:
        assert is_alive(find_owner(tmp_path))


def test_a_later_process_with_the_number_of_the_owner_is_not_taken_for_it(tmp_path, held):
    held.kill()
    held.wait()
    me = describe_process(os.getpid(), [])
    change(tmp_path, pid=me.pid, started=me.started, ticks=me.ticks)
    assert not is_owned(tmp_path)


def test_two_processes_that_look_do_not_take_each_other_for_the_owner(tmp_path, held):
    held.kill()
    held.wait()
    answers = []

    def look():
        answers.extend(is_owned(tmp_path) for _ in range(300))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False] * 1200


def test_a_damaged_process_file_hides_no_owner(tmp_path, held):
    (tmp_path / "process.json").write_text("[" * 100_000)
    assert find_owner(tmp_path) is None
    assert is_owned(tmp_path)
    with pytest.raises(RunError, match="being opened by another process"), own_folder(tmp_path):
        pass


def test_an_owner_of_a_version_without_a_lock_still_counts(tmp_path):
    me = describe_process(os.getpid(), ["train"])
    former = {"pid": me.pid, "started": me.started, "host": me.host, "command": []}
    (tmp_path / "process.json").write_text(json.dumps(former))
    assert is_owned(tmp_path)
    with pytest.raises(RunError, match="already being worked on"), own_folder(tmp_path):
        pass
    (tmp_path / "process.json").write_text(json.dumps({**former, "started": me.started - 99}))
    assert not is_owned(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_has_owners_too(tmp_path, monkeypatch, code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, "no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    monkeypatch.setattr(ownership, "find_lock", refuse)
    with own_folder(tmp_path) as owner:
        assert not owner.locks
        assert is_owned(tmp_path)
        with pytest.raises(RunError, match="already being worked on"), own_folder(tmp_path):
            pass
    assert not is_owned(tmp_path)


def test_another_computer_with_a_sign_of_life_is_left_alone(tmp_path):
    put_foreign(tmp_path, silence=5)
    assert is_owned(tmp_path)
    sentence = r"on attic, another computer.*\d+ seconds ago.*--take-over"
    with pytest.raises(RunError, match=sentence), own_folder(tmp_path):
        pass


@pytest.mark.parametrize("silence", [600, -600], ids=["past", "future"])
def test_another_computer_without_a_sign_of_life_is_gone(tmp_path, monkeypatch, silence):
    monkeypatch.setattr(ownership, "CONFIRM_SECONDS", 0.3)
    put_foreign(tmp_path, silence)
    assert not is_owned(tmp_path)
    with own_folder(tmp_path) as owner:
        assert find_owner(tmp_path) == owner


def test_a_clock_that_is_wrong_by_an_hour_lets_no_second_process_in(tmp_path, monkeypatch):
    """The other computer is alive, and only its clock makes its signs look old."""
    put_foreign(tmp_path, silence=3600)
    real, asked = ownership._read_sign, []

    def sign(folder):
        asked.append(folder)
        if len(asked) == 3:
            put_foreign(folder, silence=3590)
        return real(folder)

    monkeypatch.setattr(ownership, "_read_sign", sign)
    with pytest.raises(RunError, match="attic"), own_folder(tmp_path):
        pass


def test_a_person_takes_over_from_another_computer(tmp_path):
    put_foreign(tmp_path, silence=0)
    with own_folder(tmp_path, take_over=True) as owner:
        assert find_owner(tmp_path) == owner
    assert not is_owned(tmp_path)


@pytest.mark.usefixtures("removes_open_files")  # where the lock is kept no process has it open
def test_a_lock_that_a_server_keeps_for_another_computer_is_taken_over(tmp_path, held):
    change(tmp_path, boot="another")
    with own_folder(tmp_path, take_over=True) as owner:
        assert find_owner(tmp_path) == owner
        assert is_owned(tmp_path)


def test_nobody_takes_over_from_a_process_of_this_computer(tmp_path, held):
    with pytest.raises(RunError, match=f"process {held.pid}"), own_folder(tmp_path, take_over=True):
        pass


def test_a_process_that_was_taken_over_ends_and_leaves_the_folder_alone(tmp_path):
    process = hold(tmp_path, beat=0.05)
    put_foreign(tmp_path, silence=0)
    before = (tmp_path / "process.json").read_text()
    assert process.wait(timeout=60) == ownership.TAKEN_OVER  # its input is still open
    _, complaint = process.communicate()
    assert "was taken over by process" in complaint
    assert (tmp_path / "process.json").read_text() == before


def test_an_owner_gives_signs_of_life(tmp_path):
    process = hold(tmp_path, beat=0.05)
    try:
        os.utime(tmp_path / "process.json", (1, 1))
        while (tmp_path / "process.json").stat().st_mtime < 2:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "data",
    [
        [], {}, {"pid": "1"}, {"pid": 1, "host": "x", "command": []},
        {"pid": 1, "host": "x", "command": [], "started": "now"},
        {"pid": 1, "host": "x", "command": [], "started": True},
        {"pid": 1, "host": None, "command": [], "started": 1.0},
        {"pid": 1, "host": "x", "command": [], "started": 1e300},
        {"pid": 1, "host": "x", "command": [], "started": 1.0, "ticks": "7"},
    ],
)  # fmt: skip
def test_a_file_with_wrong_types_names_no_process(tmp_path, data):
    (tmp_path / "process.json").write_text(json.dumps(data))
    assert read_owner(tmp_path / "process.json") is None
    assert not is_owned(tmp_path)
    with own_folder(tmp_path):
        pass


def test_fields_of_a_later_version_are_left_out(tmp_path):
    owner = Owner(1, 2.0, "x", ["y"])
    (tmp_path / "process.json").write_text(json.dumps({**asdict(owner), "more": 1}))
    assert read_owner(tmp_path / "process.json") == owner


def test_a_number_beyond_any_process_is_dead():
    assert not is_alive(replace(describe_process(os.getpid(), []), pid=10**30))
