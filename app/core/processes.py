"""Starting a worker process, and knowing that it is on its way before it owns its folder.

A process takes seconds to import torch and own its folder. `starting.json` holds its pid until
then, so that a second click does not start a second one, and so that a process that dies on the
way is noticed instead of being waited for.
"""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from datasets_tools.files import write_atomically
from trainer.runs import Owner, find_owner, is_alive, spawn

_FILE = "starting.json"


def start_process(
    folder: Path, command: Sequence[str], log: Path, answer: Path | None = None
) -> None:
    """Starts a process that will own `folder`, and writes down which one it is.

    What it prints goes into the log, or into `answer`.
    """
    pid = spawn(command, log, answer)
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it is gone already; a start time of 0 never matches a living process
        started = 0.0
    owner = Owner(pid, started, socket.gethostname(), list(command))
    write_atomically(folder / _FILE, json.dumps(asdict(owner)))


def find_starter(folder: Path) -> Owner | None:
    """Returns the process that was last started for the folder, dead or alive."""
    try:
        return Owner(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_starting(folder: Path) -> bool:
    """Tells whether a process is on its way that does not own the folder yet."""
    return not is_alive(find_owner(folder)) and is_alive(find_starter(folder))


def has_worker(folder: Path) -> bool:
    """Tells whether a process owns the folder or is on its way."""
    return is_alive(find_owner(folder)) or is_alive(find_starter(folder))
