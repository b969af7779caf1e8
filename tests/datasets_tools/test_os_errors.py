"""What an error of the system means for a person: the cause, and the remedy that fits it."""

import errno
import os
import re
from pathlib import Path

import pytest

from datasets_tools import disk
from datasets_tools.files import explain_os_error, explain_write_error, save_for_person

FULL = "Free some space"
# By number: a part of the cause, a part of the remedy.
TABLE = {
    "ENOSPC": ("the disk is full", FULL),
    "EDQUOT": ("the disk is full", FULL),
    "EFBIG": ("too large for this disk", "another format"),
    "EROFS": ("the disk is read-only", "Make it writable"),
    "EACCES": ("permission was denied", "Check the rights"),
    "EPERM": ("permission was denied", "Check the rights"),
    "ENOENT": ("does not exist", "Restore it"),
    "ENOTDIR": ("something else of that name", "Rename or remove it"),
    "EEXIST": ("something else of that name", "Rename or remove it"),
    "EISDIR": ("it is a folder", "Name a file"),
    "ENAMETOOLONG": ("name is too long", "Choose a shorter one"),
    "EIO": ("the disk has a fault", "choose another disk"),
    "ENODEV": ("not there any more", "Connect it again"),
    "ENXIO": ("not there any more", "Connect it again"),
    "ESTALE": ("not there any more", "Connect it again"),
    "EMFILE": ("too many files are open", "Close other programs"),
    "ENFILE": ("too many files are open", "Close other programs"),
    "ELOOP": (os.strerror(errno.ELOOP), "Check the disk"),
}
# Windows' numbers, and what Python makes of them, which is less.
WINDOWS = {
    39: (errno.EINVAL, FULL),
    112: (errno.ENOSPC, FULL),
    1295: (errno.EINVAL, FULL),
    19: (errno.EACCES, "Make it writable"),
    21: (errno.EACCES, "Connect it again"),
    53: (errno.ENOENT, "Connect it again"),
    206: (errno.ENOENT, "Choose a shorter one"),
    223: (errno.EINVAL, "another format"),
    1117: (errno.EINVAL, "choose another disk"),
    5: (errno.EACCES, "Check the rights"),
    2: (errno.ENOENT, "Restore it"),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_number_has_its_cause_and_remedy(name):
    cause, remedy = TABLE[name]
    number = getattr(errno, name)
    sentence = explain_os_error(OSError(number, os.strerror(number), "/home/jane/file"))
    assert cause in sentence
    assert remedy in sentence
    assert "jane" not in sentence
    assert (FULL in sentence) == (name in {"ENOSPC", "EDQUOT"})
    assert re.fullmatch(r"[^.]+\. [A-Z].*\.", sentence)


@pytest.mark.parametrize("code", WINDOWS)
def test_windows_own_number_decides_where_it_says_more(code):
    number, remedy = WINDOWS[code]
    # As Windows gives it, and in the text, where other systems have no such attribute.
    sentence = explain_os_error(OSError(number, f"[WinError {code}] …"))
    assert remedy in sentence
    assert (FULL in sentence) == (remedy == FULL)


def test_an_error_without_a_number_keeps_its_own_words():
    assert explain_os_error(OSError("no tokenizer here")).startswith("no tokenizer here. Check")


def test_a_held_file_is_no_full_disk(tmp_path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(errno.EACCES, "[WinError 32] used by another process")

    monkeypatch.setattr(disk, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(Exception, match="open in another program") as raised:
        save_for_person(tmp_path / "a.txt", "new", "The caption")
    assert FULL not in str(raised.value)


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    path = tmp_path / "x.safetensors"
    error = OSError(errno.EROFS, "Read-only file system")
    assert explain_write_error(path, error).startswith(
        "x.safetensors could not be written: the disk is read-only. Make it writable"
    )
    missing = explain_write_error(path, FileNotFoundError(errno.ENOENT, "No such file"))
    assert f"the folder {tmp_path} does not exist. Create it first." in missing
