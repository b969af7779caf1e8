"""Replaces, renames and removes files and folders, also while another program has them open.

Windows refuses that as long as any process has the file open or mapped: a poll of the page, a virus
scanner, the search index. Most of them close it within a moment, so each function here tries again
for a few seconds, and then raises `FileHeldError`, which names the file and the program. Every
package moves and removes files with this module and with nothing else.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, TypeVar

from datasets_tools.errors import LorasmithError

T = TypeVar("T")

PATIENCE_SECONDS = 5.0
# For what is removed only to save space, while a person waits for something else.
QUIET_SECONDS = 1.0
_NUMBERS_ARE_LOST = os.name == "nt"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2
_SEARCH_SECONDS = 2.0

_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33
_HELD = frozenset({_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION})
_NOT_EMPTY = frozenset({145})
# Errors of other systems have no `winerror`; tests that simulate Windows there put it in the text.
_IN_TEXT = re.compile(r"\[WinError (\d+)\]")


class FileHeldError(LorasmithError, PermissionError):
    """A file is open in a program; `strerror` is the message without its full stop."""

    def __str__(self) -> str:
        return f"{self.strerror}."


def replace_file(source: Path, target: Path) -> None:
    """Moves a file over another one, or to where there is none, on the same disk.

    Raises:
        OSError: From the system; both files are as they were.
    """
    with _explained(source, target):
        _retry(lambda: source.replace(target))


def rename(source: Path, target: Path) -> None:
    """Renames a file or a folder on the same disk; there should be nothing of the new name.

    Raises:
        OSError: From the system; nothing has changed.
    """
    with _explained(source, target):
        _retry(lambda: source.rename(target))


def move_file(source: Path, target: Path) -> None:
    """Moves a file, also to another disk; it may be found there half copied until then.

    Raises:
        OSError: From the system; the source is still there.
    """
    try:
        replace_file(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target)
        remove_file(source)


def remove_file(path: Path, *, missing_ok: bool = False) -> None:
    """Removes a file.

    Raises:
        OSError: From the system; the file is still there.
    """
    with _explained(path):
        _retry(lambda: path.unlink(missing_ok=missing_ok))


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it.

    Raises:
        OSError: From the system; a part may be gone.
    """
    with _explained(path):
        _retry_folder(path, PATIENCE_SECONDS)


def remove_empty_folder(path: Path) -> None:
    """Removes a folder with nothing in it.

    Raises:
        OSError: From the system, also where there is something in it.
    """
    with _explained(path):
        _retry(path.rmdir)


def remove_quietly(path: Path) -> None:
    """Removes a file, or a folder as far as the system lets us; what stays is only lost space."""
    try:
        if path.is_dir() and not path.is_symlink():
            _retry_folder(path, QUIET_SECONDS)
        else:
            _retry(lambda: path.unlink(missing_ok=True), QUIET_SECONDS)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None, prefix: str = "") -> Iterator[Path]:
    """Yields a new folder, which is removed after the block.

    Args:
        parent: Where it lies; None for the system's folder of temporary files.
        prefix: What its name begins with.
    """
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        remove_quietly(folder)


def sync_file(file: IO[Any]) -> None:
    """Waits until the disk has what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable where the system can; the content is safe without it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows cannot open folders
    try:
        os.fsync(descriptor)
    except OSError:
        return  # some network disks cannot flush a folder
    finally:
        os.close(descriptor)


def read_bytes(path: Path, most: int = -1) -> bytes:
    """Returns the content of a file that another process may be replacing at this moment.

    Args:
        path: The file.
        most: How many bytes to read at most; -1 for all.

    Raises:
        OSError: From the system.
    """

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(most)

    return _retry(read, QUIET_SECONDS, _is_hidden)


def read_text(path: Path) -> str:
    """Returns the text of a file, in UTF-8, as `read_bytes` does.

    Raises:
        OSError, UnicodeDecodeError: From the system; it is not UTF-8.
    """
    return read_bytes(path).decode("utf-8")


def is_held(error: OSError) -> bool:
    """Returns whether a file could not be moved or removed because a program has it open.

    Windows gives the same numbers where the rights are missing; other systems do not give them.
    """
    return read_winerror(error) in _HELD


def read_winerror(error: OSError) -> int | None:
    """Returns the number of an error of Windows; None for those of other systems."""
    code: int | None = getattr(error, "winerror", None)
    if code is None:
        match = _IN_TEXT.search(error.strerror or "")
        code = int(match[1]) if match else None
    return code


def _is_held_or_full(error: OSError) -> bool:
    # A file that was just removed stays in its folder until its last reader has closed it.
    return read_winerror(error) in _HELD | _NOT_EMPTY


def _is_hidden(error: OSError) -> bool:
    # Opening a file passes through the C library, which drops the number of the error.
    return is_held(error) or (_NUMBERS_ARE_LOST and isinstance(error, PermissionError))


def _retry(
    action: Callable[[], T],
    seconds: float = PATIENCE_SECONDS,
    is_passing: Callable[[OSError], bool] = is_held,
) -> T:
    """Calls `action` until no program holds the file any more, for that many seconds at most."""
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            return action()
        except OSError as error:
            if not is_passing(error) or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _retry_folder(path: Path, seconds: float) -> None:
    _retry(lambda: shutil.rmtree(path), seconds, _is_held_or_full)


@contextlib.contextmanager
def _explained(*paths: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_held(error):
            raise _explain(error, paths) from error
        raise


def _explain(error: OSError, paths: tuple[Path, ...]) -> FileHeldError:
    held, holder = find_holder(paths)
    if holder == os.getpid():
        who = "in this very program"
    elif holder is not None:
        who = f"in {_name_process(holder)} (process {holder})"
    else:
        who = "in another program, or it is write-protected"
    path = held or _choose_path(error, paths)
    advice = "close it there, or wait until that program is done, and try again"
    return FileHeldError(errno.EACCES, f"{path.name} is open {who}; {advice}", str(path))


def _choose_path(error: OSError, paths: tuple[Path, ...]) -> Path:
    """Returns what to name where nobody knows which file is open: what a person knows of it."""
    if len(paths) == 1:
        return Path(str(error.filename or paths[0]))
    source, target = paths
    return target if target.exists() else source  # the source of a replacement is temporary


def find_holder(paths: tuple[Path, ...]) -> tuple[Path | None, int | None]:
    """Returns a file at or below the paths that a process has open, and the number of that process.

    Only what the system shows to this user is found, and the search ends after two seconds.
    """
    import psutil  # only who has to wait pays for it

    end = time.monotonic() + _SEARCH_SECONDS
    places = [os.path.normcase(os.path.realpath(path)) for path in paths]
    processes = sorted(psutil.process_iter(), key=lambda each: each.pid != os.getpid())
    for process in processes:
        if time.monotonic() > end:
            break
        for listing in (process.open_files, process.memory_maps):
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                for file in listing():
                    name = os.path.normcase(file.path)
                    if any(name == place or name.startswith(place + os.sep) for place in places):
                        return Path(file.path), process.pid
    return None, None


def _name_process(pid: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        line = process.cmdline()
        for word, command in pairwise(line):
            if word == "app.cli" or Path(word).stem == "lorasmith":
                return f"lorasmith {command}"
        return str(process.name())
    return "another program"
