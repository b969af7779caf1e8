"""The errors of this package."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from datasets_tools.errors import LorasmithError
from datasets_tools.files import explain_os_error


class RunError(LorasmithError):
    """A run that cannot be created, opened, started or saved; the message states what to do."""


class RunWriteError(RunError, OSError):
    """A folder of a run or of previews that cannot be written; `strerror` is the reason."""

    def __str__(self) -> str:
        return f"The folder {self.filename} cannot be written: {self.strerror}"


@contextlib.contextmanager
def explain_writing(folder: Path) -> Iterator[None]:
    """Raises RunWriteError where the block cannot write the folder."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RunWriteError | Timeout):  # a lock that is held is another matter
            raise
        reason = explain_os_error(error)
        raise RunWriteError(error.errno or 0, reason, str(folder)) from error
