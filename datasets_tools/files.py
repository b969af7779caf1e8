"""Writing a file so that a reader sees the old content or the new one, never half of either."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from datasets_tools.disk import (
    FileHeldError,
    remove_quietly,
    replace_file,
    sync_folder,
    temporary_folder,
)
from datasets_tools.errors import DatasetError


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
    """Return a sentence part with the cause and the remedy, without the path."""
    if isinstance(error, FileHeldError):
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Free some space and try again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "permission was denied. Check the rights of the file and its folder."
    if error.errno == errno.ENOENT:
        return "it does not exist any more. Reload the dataset."
    if error.errno == errno.ENAMETOOLONG:
        return "its name is too long for this disk. Choose a shorter one."
    return f"{error.strerror or error}. Check the disk and try again."


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
