"""Writing a file so that a reader sees the old content or the new one, never half of either."""

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from datasets_tools.disk import (
    FileHeldError,
    read_winerror,
    remove_quietly,
    replace_file,
    sync_folder,
    temporary_folder,
)
from datasets_tools.errors import DatasetError

# What an error means for a person: by its number, and by Windows' own where that is more exact than
# the number that Python makes of it.
_EXPLANATIONS: dict[str, tuple[set[int], set[int]]] = {
    "the disk is full. Free some space and try again.": (
        {errno.ENOSPC, errno.EDQUOT}, {39, 112, 1295},
    ),
    "it is too large for this disk. Choose a disk of another format (not FAT32).": (
        {errno.EFBIG}, {223},
    ),
    "the disk is read-only. Make it writable, or choose another folder.": ({errno.EROFS}, {19}),
    "the disk or network folder is not there any more. Connect it again and try again.": (
        {errno.ENODEV, errno.ENXIO, errno.ESTALE}, {21, 53, 55, 64, 67},
    ),
    "the disk has a fault. Copy what is on it, and choose another disk.": ({errno.EIO}, {1117}),
    "its name is too long for this disk. Choose a shorter one.": ({errno.ENAMETOOLONG}, {206}),
    "permission was denied. Check the rights of the file and its folder.": (
        {errno.EACCES, errno.EPERM}, set(),
    ),
    "the file or its folder does not exist. Restore it, or choose another one.": (
        {errno.ENOENT}, set(),
    ),
    "there is something else of that name. Rename or remove it, or choose another name.": (
        {errno.EEXIST, errno.ENOTDIR}, set(),
    ),
    "it is a folder. Name a file instead.": ({errno.EISDIR}, set()),
    "too many files are open. Close other programs and try again.": (
        {errno.EMFILE, errno.ENFILE}, set(),
    ),
}  # fmt: skip


_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.tmp")
_LEFTOVER_FOLDER = re.compile(r"\.aside-[a-z0-9_]{8}|\.step-\d{6,}")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write aside, flush to the disk, then rename over `path`; a text is written as UTF-8.

    Raises:
        OSError: From the system; the old file is untouched and the half-written one removed.
    """
    aside = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        _write_and_flush(aside, content.encode("utf-8") if isinstance(content, str) else content)
        replace_file(aside, path)
    except BaseException:
        remove_quietly(aside)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yields where to write a file that takes the place of `path` once the block has ended well.

    It has the same name, in a folder of its own, so that messages about it name the file.

    Raises:
        OSError: From the system; the old file is untouched.
    """
    with temporary_folder(path.parent, ".aside-") as folder:
        aside = folder / path.name
        yield aside
        replace_file(aside, path)


def remove_leftovers(folder: Path, seconds: float = 0.0) -> None:
    """Removes what a process that was killed left of files that it was writing.

    Args:
        folder: Below which to look.
        seconds: How old it must be, where other processes may be writing.
    """
    latest = time.time() - seconds
    for parent, folders, files in os.walk(folder):
        left = [name for name in files if _LEFTOVER.fullmatch(name)]
        left += [name for name in folders if _LEFTOVER_FOLDER.fullmatch(name)]
        for name in left:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime <= latest:
                    remove_quietly(path)
        folders[:] = [name for name in folders if name not in left]


def save_for_person(path: Path, content: bytes | str, subject: str) -> None:
    """Write as `write_atomically` does, and raise a readable error when it fails.

    Args:
        path: The file to create or replace; its folder must exist.
        content: The whole new content.
        subject: What is being saved, as the start of an error sentence ("The caption of a.png").

    Raises:
        DatasetError: The file could not be written; the old one is untouched.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        message = f"{subject} could not be saved: {explain_os_error(error)}"
        raise DatasetError(f"{message} What was there before is unchanged.") from error


def explain_os_error(error: OSError) -> str:
    """Return the end of a sentence: the cause and the remedy, without the path.

    Every message about a file or folder that cannot be read or written ends with it.
    """
    if isinstance(error, FileHeldError):
        return str(error)
    code = read_winerror(error)
    for explanation, (_numbers, codes) in _EXPLANATIONS.items():
        if code in codes:
            return explanation
    for explanation, (numbers, _codes) in _EXPLANATIONS.items():
        if error.errno in numbers:
            return explanation
    return f"{error.strerror or error}. Check the disk and try again."


def explain_write_error(path: Path, error: OSError) -> str:
    """Return the error message for a file or folder that cannot be written."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return (
            f"{path} cannot be written: the folder {path.parent} does not exist. Create it first."
        )
    return f"{path.name} could not be written: {explain_os_error(error)}"


def _write_and_flush(path: Path, data: bytes) -> None:
    """Create `path` with `data` and wait until the disk has it."""
    # Not tempfile.mkstemp: its 0600 would take captions away from other users of a shared folder.
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
