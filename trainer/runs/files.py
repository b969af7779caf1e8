"""Writing files so that a reader, a crash or a full disk never leaves half of one."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, content: bytes | str | Callable[[Path], None]) -> None:
    """Writes aside, flushes to the disk and renames; on an error the old file stays as it was.

    Args:
        path: The file to write.
        content: The bytes, a text (as UTF-8), or a function that writes the path it is given.

    Raises:
        OSError: from the system, after the half-written file was removed.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
    os.close(handle)
    aside = Path(name)
    try:
        if callable(content):
            content(aside)
        else:
            aside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        flush_to_disk(aside)
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def flush_to_disk(path: Path) -> None:
    """Asks the system to have the file's bytes on the disk before we go on."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
