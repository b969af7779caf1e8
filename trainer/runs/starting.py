"""Processes on their way: started for a folder, which they do not own yet.

A process takes seconds to import torch and own its folder. `starting.json` names it until then, so
that a second one is not started, and so that a process that dies on the way is noticed instead of
being waited for.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from datasets_tools.files import write_atomically
from trainer.runs.ownership import is_owned
from trainer.runs.process import Owner, describe_process, is_alive, read_owner, spawn

STARTER_FILE = "starting.json"


def start_process(
    folder: Path, command: Sequence[str], log: Path, answer: Path | None = None
) -> None:
    """Starts a process that will own `folder`, and saves which one it is.

    What it prints goes into the log, or into `answer`.

    Raises:
        OSError: it cannot be started, or the folder cannot be written.
    """
    owner = describe_process(spawn(command, log, answer), command)
    write_atomically(folder / STARTER_FILE, json.dumps(asdict(owner)))


def find_starter(folder: Path) -> Owner | None:
    """Returns the process that was last started for the folder, dead or alive."""
    return read_owner(folder / STARTER_FILE)


def read_start(folder: Path) -> float:
    """Returns when a process was last started for the folder, in seconds since 1970; 0 for never.

    A process that ended at once has left no time of its own.
    """
    try:
        return (folder / STARTER_FILE).stat().st_mtime
    except OSError:
        return 0.0


def is_starting(folder: Path) -> bool:
    """Whether a process is on its way that does not own the folder yet."""
    return not is_owned(folder) and is_alive(find_starter(folder))


def has_worker(folder: Path) -> bool:
    """Whether a process owns the folder or is on its way."""
    return is_owned(folder) or is_alive(find_starter(folder))
