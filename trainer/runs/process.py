"""Which process owns a folder, whether it still lives, and how one is started."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock

from datasets_tools.files import write_atomically
from trainer.runs.errors import RunError


@dataclass(frozen=True)
class Owner:
    """A process, distinguished from a later one with the same number by its start time."""

    pid: int
    started: float
    host: str
    command: list[str]


def find_owner(folder: Path) -> Owner | None:
    """Returns the process that owns the folder, dead or alive; None when there is none."""
    try:
        return Owner(**json.loads((folder / "process.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_alive(owner: Owner | None) -> bool:
    """Returns whether the owner still runs. A process on another computer counts as alive."""
    if owner is None:
        return False
    if owner.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(owner.pid)
        same = bool(abs(process.create_time() - owner.started) < 1.0)
        return same and str(process.status()) != str(psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[Owner]:
    """Holds the folder for this process while the block runs.

    Raises:
        RunError: another living process owns it.
    """
    me = psutil.Process()
    owner = Owner(me.pid, me.create_time(), socket.gethostname(), sys.argv)
    path = folder / "process.json"
    # The lock covers only the look and the write, so that two processes that find a dead owner
    # at the same moment cannot both take over.
    with FileLock(str(folder / ".process.lock"), timeout=10):
        current = find_owner(folder)
        if is_alive(current) and current is not None:
            msg = (
                f"{folder.name} is already being worked on by process {current.pid} on "
                f"{current.host}. Wait for it, or stop it with `lorasmith ask`."
            )
            raise RunError(msg)
        write_atomically(path, json.dumps(asdict(owner)))
    try:
        yield owner
    finally:
        if find_owner(folder) == owner:
            path.unlink(missing_ok=True)


def spawn(command: Sequence[str], log: Path, answer: Path | None = None) -> int:
    """Starts a process that outlives this one, and returns its pid.

    Args:
        command: The words of the command line.
        log: Its output is appended here.
        answer: What it prints goes here instead, and only its complaints into the log.
    """
    flags = {"start_new_session": True}
    if os.name == "nt":
        flags = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
    with log.open("ab") as output, (answer or log).open("ab" if answer is None else "wb") as stdout:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=output,
            **flags,  # type: ignore[call-overload]
        )
    pid: int = process.pid
    return pid
