"""Files that another program has open: how long they are waited for, and what is reported."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets_tools import disk
from datasets_tools.files import explain_os_error, save_for_person, write_aside, write_atomically


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(disk, "time", made)
    return made


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def make_error(number, path="a"):
    return PermissionError(errno.EACCES, f"[WinError {number}] held", str(path))


def refuse(monkeypatch, owner, name, number, times):
    """Makes a function fail that often before it works."""
    real, calls = getattr(owner, name), []

    def fail(path, *arguments, **options):
        calls.append(path)
        if len(calls) <= times:
            raise make_error(number, path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(owner, name, fail)
    return calls


@pytest.mark.parametrize("number", [5, 32, 33])
def test_a_held_file_is_replaced_when_it_is_closed(tmp_path, monkeypatch, clock, number):
    calls = refuse(monkeypatch, Path, "replace", number, times=3)
    write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert len(calls) == 4
    assert clock.pauses == [0.01, 0.02, 0.04]


ACTS = {
    "replace_file": ("replace", lambda place: disk.replace_file(place / "a", place / "b")),
    "rename": ("rename", lambda place: disk.rename(place / "a", place / "b")),
    "move_file": ("replace", lambda place: disk.move_file(place / "a", place / "b")),
    "remove_file": ("unlink", lambda place: disk.remove_file(place / "a")),
    "remove_empty_folder": ("rmdir", lambda place: disk.remove_empty_folder(place / "empty")),
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ACTS)
def test_each_act_is_tried_again(place, monkeypatch, clock, name):
    method, act = ACTS[name]
    calls = refuse(monkeypatch, Path, method, 32, times=5)
    act(place)
    assert len(calls) == 6
    assert sum(clock.pauses) == pytest.approx(0.31)


@pytest.mark.parametrize("name", ACTS)
def test_the_waiting_ends_after_five_seconds(place, monkeypatch, clock, name):
    method, act = ACTS[name]
    refuse(monkeypatch, Path, method, 32, times=10_000)
    with pytest.raises(disk.FileHeldError):
        act(place)
    assert 4.7 <= sum(clock.pauses) <= 5.0
    assert max(clock.pauses) == 0.2
    assert (place / "a").read_text() == "content"
    assert list_names(place) == ["a", "empty"]


@pytest.mark.parametrize("number", [5, 32, 33, 145])
def test_a_folder_is_removed_when_it_is_released(place, monkeypatch, clock, number):
    calls = refuse(monkeypatch, shutil, "rmtree", number, times=2)
    disk.remove_folder(place / "empty")
    assert len(calls) == 3
    assert not (place / "empty").exists()


def test_an_empty_folder_that_is_not_empty_is_not_waited_for(place, monkeypatch, clock):
    calls = refuse(monkeypatch, Path, "rmdir", 145, times=100)
    with pytest.raises(OSError, match="145"):
        disk.remove_empty_folder(place / "empty")
    assert (len(calls), clock.pauses) == (1, [])


@pytest.mark.parametrize("error", [
    PermissionError(errno.EACCES, "Permission denied", "a"),
    OSError(errno.ENOSPC, "No space left on device", "a"),
    OSError(errno.EINVAL, "[WinError 123] no such name", "a"),
])  # fmt: skip
def test_other_errors_are_not_waited_for(place, monkeypatch, clock, error):
    def fail(_path, _target):
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(type(error)) as raised:
        disk.replace_file(place / "a", place / "b")
    assert raised.value is error
    assert clock.pauses == []


def test_windows_own_number_is_read_where_there_is_one(place):
    error = PermissionError(errno.EACCES, "Zugriff verweigert", "a")
    assert not disk.is_held(error)
    error.winerror = 32
    assert disk.is_held(error)
    error.winerror = 2
    assert not disk.is_held(error)


def test_quiet_removal_waits_one_second_and_leaves_the_rest(place, monkeypatch, clock):
    refuse(monkeypatch, Path, "unlink", 32, times=10_000)
    disk.remove_quietly(place / "a")
    assert 0.7 <= sum(clock.pauses) <= 1.0
    assert (place / "a").is_file()


def test_quiet_removal_takes_files_folders_and_what_is_missing(place):
    (place / "empty" / "x").touch()
    for name in ("a", "empty", "missing"):
        disk.remove_quietly(place / name)
    assert list(place.iterdir()) == []


def test_quiet_removal_of_a_link_leaves_its_target(place):
    (place / "link").symlink_to(place / "empty", target_is_directory=True)
    disk.remove_quietly(place / "link")
    assert list_names(place) == ["a", "empty"]


def test_missing_files_are_reported_unless_that_is_fine(place):
    disk.remove_file(place / "missing", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        disk.remove_file(place / "missing")
    with pytest.raises(FileNotFoundError):
        disk.remove_folder(place / "missing")


def test_a_file_moves_across_disks(place, monkeypatch):
    def fail(_path, _target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", fail)
    disk.move_file(place / "a", place / "b")
    assert (place / "b").read_text() == "content"
    assert not (place / "a").exists()


def hold(path, folder, *arguments):
    """Starts a process that has a file open until its standard input is closed."""
    code = "import sys; f = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path), *arguments]
    process = subprocess.Popen(command, cwd=folder, stdin=-1, stdout=-1)
    process.stdout.readline()
    return process


def test_the_error_names_the_file_the_program_and_the_remedy(place, monkeypatch, clock):
    (place / "empty" / "b").touch()
    process = hold(place / "empty" / "b", place)
    refuse(monkeypatch, Path, "rename", 5, times=10_000)
    try:
        with pytest.raises(disk.FileHeldError) as raised:
            disk.rename(place / "empty", place / "full")
    finally:
        process.communicate()
    sentence = explain_os_error(raised.value)
    assert str(raised.value) == sentence
    assert (raised.value.errno, raised.value.filename) == (
        errno.EACCES,
        str(place / "empty" / "b"),
    )
    assert sentence.startswith("b is open in python")
    assert f"(process {process.pid}); close it there" in sentence
    assert sentence.endswith("and try again.")


def test_the_error_names_our_own_commands(place, monkeypatch, clock):
    process = hold(place / "a", place, "app.cli", "preview-worker")
    refuse(monkeypatch, Path, "unlink", 32, times=10_000)
    try:
        with pytest.raises(disk.FileHeldError, match=r"a is open in lorasmith preview-worker \("):
            disk.remove_file(place / "a")
    finally:
        process.communicate()


def test_the_error_says_when_it_is_this_process(place, monkeypatch, clock):
    refuse(monkeypatch, Path, "unlink", 32, times=10_000)
    with (place / "a").open(), pytest.raises(disk.FileHeldError, match="a is open in this very"):
        disk.remove_file(place / "a")


def test_the_error_admits_that_nobody_was_found(place, monkeypatch, clock):
    refuse(monkeypatch, Path, "unlink", 32, times=10_000)
    with pytest.raises(disk.FileHeldError, match="a is open in another program, or it is write-"):
        disk.remove_file(place / "a")


def test_the_old_content_stays_when_a_file_cannot_be_replaced(place, monkeypatch, clock):
    refuse(monkeypatch, Path, "replace", 32, times=10_000)
    with pytest.raises(Exception, match=r"The caption could not be saved: a is open in another"):
        save_for_person(place / "a", "new", "The caption")
    assert (place / "a").read_text() == "content"
    with pytest.raises(disk.FileHeldError), write_aside(place / "a") as aside:
        aside.write_text("new")
    assert (place / "a").read_text() == "content"
    assert list_names(place) == ["a", "empty"]


@pytest.mark.parametrize(("text", "lost", "calls"), [
    ("[WinError 32] held", False, 4),
    ("Permission denied", True, 4),  # as Python's open reports it there
    ("Permission denied", False, 1),
])  # fmt: skip
def test_a_file_that_is_being_replaced_is_read_afterwards(
    place, monkeypatch, clock, text, lost, calls
):
    real, count = Path.open, []

    def fail(path, *arguments):
        count.append(path)
        if len(count) < 4:
            raise PermissionError(errno.EACCES, text, str(path))
        return real(path, *arguments)

    monkeypatch.setattr(disk, "_NUMBERS_ARE_LOST", lost)
    monkeypatch.setattr(Path, "open", fail)
    if calls == 1:
        with pytest.raises(PermissionError):
            disk.read_text(place / "a")
    else:
        assert disk.read_text(place / "a") == "content"
    assert len(count) == calls


def test_no_more_is_read_than_is_wanted(place):
    assert disk.read_bytes(place / "a", 4) == b"cont"
    assert disk.read_bytes(place / "a") == b"content"


def test_a_temporary_folder_goes_with_all_that_is_in_it(place):
    with disk.temporary_folder(place, ".x-") as folder:
        assert folder.parent == place
        assert folder.name.startswith(".x-")
        (folder / "sub").mkdir()
        (folder / "sub" / "file").touch()
    assert not folder.exists()


def test_a_folder_that_cannot_be_opened_is_not_flushed(place, monkeypatch):
    def fail(_path, _flags):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", fail)
    disk.sync_folder(place)


@pytest.mark.skipif(sys.platform == "win32", reason="compares with a system that does not wait")
def test_a_real_refusal_of_posix_is_immediate(tmp_path):
    start = time.monotonic()
    with pytest.raises(FileNotFoundError):
        disk.replace_file(tmp_path / "missing", tmp_path / "b")
    assert time.monotonic() - start < 1
