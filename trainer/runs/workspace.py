"""The format of a workspace: a number in it, and what brings an older one up to date.

`workspace.json` holds `{"format": 1}`. A workspace without it is from before there was a number,
which is format 0. Every command that works in a workspace opens it here first: an older one is
brought up to date, one change after the other; a newer one is refused before anything is read.

A change of what lies in a workspace, or of a setting's name in the config of a run, is one function
in `MIGRATIONS`, and `tests/workspaces` gets a workspace of the format that was there before.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from datasets_tools.bounded_json import read_table
from datasets_tools.files import explain_os_error, write_atomically
from trainer.runs.errors import RunError

FORMAT_FILE = "workspace.json"
_LOCK_FILE = ".workspace.lock"
_LOCK_SECONDS = 60.0
# By which a folder is known as a workspace that has no number yet.
_FOLDERS = ("datasets", "runs", "models", "loras")


def _add_number(root: Path) -> None:
    """From before there was a number: nothing lies elsewhere in format 1."""
    del root


# What turns a workspace of one format into one of the next. The number is written after each, so
# that one which was killed runs again: it must come to the same when a part was done before.
MIGRATIONS: Mapping[int, Callable[[Path], None]] = {0: _add_number}
FORMAT = max(MIGRATIONS) + 1


def open_workspace(root: Path, *, create: bool = False) -> None:
    """Makes sure that a workspace has this version's format.

    Args:
        root: Of the workspace; nothing is done where there is none.
        create: Whether something will be written into it, so that a new one gets its number.

    Raises:
        RunError: it is of a newer version, its number is damaged, or it cannot be written.
    """
    if check_workspace(root) == FORMAT:
        return
    known = is_workspace(root)
    if not known and not create:
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(str(root / _LOCK_FILE), timeout=_LOCK_SECONDS):
            _migrate(root, read_format(root) if known else FORMAT)
    except Timeout:
        msg = f"The workspace {root} is being brought up to date by another process. Wait for it."
        raise RunError(msg) from None
    except OSError as error:
        msg = f"The workspace {root} cannot be written: {explain_os_error(error)}"
        raise RunError(msg) from error


def check_workspace(root: Path) -> int:
    """Returns the number of a workspace's format, and refuses a newer one; reads one small file.

    Raises:
        RunError: it is one, or its number is damaged.
    """
    number = read_format(root)
    if number > FORMAT:
        msg = (
            f"The workspace {root} was written by a newer version of Lorasmith (its format is "
            f"{number}, and this version knows {FORMAT}). Update Lorasmith, or choose another "
            "folder with --workspace."
        )
        raise RunError(msg)
    return number


def read_format(root: Path) -> int:
    """Returns the number of a workspace's format; 0 where it has none.

    Raises:
        RunError: the number cannot be read.
    """
    path = root / FORMAT_FILE
    try:
        number = read_table(path)["format"]
        if type(number) is int and number > 0:
            return number
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        msg = f"{path} cannot be read: {explain_os_error(error)}"
        raise RunError(msg) from error
    except (ValueError, KeyError, TypeError):
        pass
    msg = (
        f"{path} is damaged: it must hold the number of the workspace's format, such as "
        f'{{"format": {FORMAT}}}. Restore the file, or put that into it if no newer version of '
        "Lorasmith ever opened this workspace."
    )
    raise RunError(msg)


def is_workspace(root: Path) -> bool:
    """Returns whether a folder is a workspace, with a number or from before there was one."""
    return any((root / name).exists() for name in (FORMAT_FILE, *_FOLDERS))


def _migrate(root: Path, number: int) -> None:
    for each in range(number, FORMAT):
        MIGRATIONS[each](root)
        _write_format(root, each + 1)
    if number == FORMAT and not (root / FORMAT_FILE).is_file():
        _write_format(root, FORMAT)


def _write_format(root: Path, number: int) -> None:
    write_atomically(root / FORMAT_FILE, json.dumps({"format": number}) + "\n")
