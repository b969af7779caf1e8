"""Requests to a running trainer, as files in `control/`; it deletes what it has obeyed."""

import time
from pathlib import Path
from typing import Literal, get_args

from datasets_tools.disk import remove_file
from datasets_tools.files import write_atomically
from trainer.runs.errors import explain_writing

_MOST_LETTERS = 10_000

Request = Literal["stop", "pause", "resume", "sample", "save"]


def request(folder: Path, what: Request, text: str = "") -> None:
    """Asks the process that owns the folder to do something at the end of its current step.

    Args:
        folder: Of the run.
        what: To do.
        text: What it is about: for `sample` prompts, one a line; "" for those of the run.

    Raises:
        RunWriteError: the folder is gone, full or read-only.
    """
    control = folder / "control"
    with explain_writing(folder):
        control.mkdir(exist_ok=True)
        if text:
            write_atomically(control / what, text)
        elif not (control / what).exists():  # asking again does not start the time anew
            (control / what).touch()


def read_requests(folder: Path) -> set[Request]:
    """Returns what is being asked for."""
    return {what for what in get_args(Request) if (folder / "control" / what).exists()}


def read_request_lines(folder: Path, what: Request) -> list[str]:
    """Returns the lines that a request is about."""
    try:
        with (folder / "control" / what).open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_MOST_LETTERS).splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()]


def read_age(folder: Path, what: Request) -> float:
    """Returns for how many seconds something has been asked for; 0 where it is not."""
    try:
        return time.time() - (folder / "control" / what).stat().st_mtime
    except OSError:
        return 0.0


def clear_requests(folder: Path, *what: Request) -> None:
    """Removes requests that were obeyed, or all of them.

    Raises:
        RunWriteError: one cannot be removed.
    """
    with explain_writing(folder):
        for name in what or get_args(Request):
            remove_file(folder / "control" / name, missing_ok=True)
