"""Which process owns a folder, whether it still lives, and how one is started."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from datasets_tools.disk import read_text, remove_file
from datasets_tools.files import write_atomically
from trainer.runs.errors import RunError, explain_writing
from trainer.runs.systems import list_detach_options

ENDING_SECONDS = 5.0


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
        return Owner(**json.loads(read_text(folder / "process.json")))
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
        RunError: another living process owns it, or it cannot be written.
    """
    me = psutil.Process()
    owner = Owner(me.pid, me.create_time(), socket.gethostname(), sys.argv)
    # The lock covers only the look and the write, so that two processes that find a dead owner
    # at the same moment cannot both take over.
    try:
        with explain_writing(folder), FileLock(str(folder / ".process.lock"), timeout=10):
            _take_over(folder, owner)
    except Timeout:
        msg = f"{folder.name} is being opened by another process. Try again in a moment."
        raise RunError(msg) from None
    try:
        yield owner
    finally:
        # What ended the block is raised, not that the folder is gone or read-only meanwhile.
        with contextlib.suppress(OSError):
            if find_owner(folder) == owner:
                remove_file(folder / "process.json", missing_ok=True)


def _take_over(folder: Path, owner: Owner) -> None:
    current = find_owner(folder)
    if is_alive(current) and current is not None:
        msg = (
            f"{folder.name} is already being worked on by process {current.pid} on "
            f"{current.host}. Wait for it, or stop it with `lorasmith ask`."
        )
        raise RunError(msg)
    write_atomically(folder / "process.json", json.dumps(asdict(owner)))


def spawn(
    command: Sequence[str], log: Path, answer: Path | None = None, system: str = sys.platform
) -> int:
    """Starts a process that outlives this one and its terminal, and returns its pid.

    Args:
        command: The words of the command line.
        log: Its output is appended here.
        answer: What it prints goes here instead, and only its complaints into the log.
        system: As in `sys.platform`.

    Raises:
        OSError: it cannot be started.
    """
    # What it prints is read as UTF-8, where Windows' own code page would be the default.
    environment = {**os.environ, "PYTHONUTF8": "1"}
    first, *others = list_detach_options(system)
    with log.open("ab") as output, (answer or log).open("ab" if answer is None else "wb") as stdout:

        def start(options: Mapping[str, Any]) -> int:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=output,
                env=environment,
                **options,
            ).pid

        for options in others:
            with contextlib.suppress(PermissionError):
                return start(first)
            first = options
        return start(first)


def end_process(owner: Owner) -> bool:
    """Ends a process that does not stop by itself, and those that it started.

    On Windows there is no signal that asks: the process is ended at once. Elsewhere it is asked by
    SIGTERM first and killed when it is still there after a while.

    Returns:
        Whether it was still there, on this computer.
    """
    if owner.host != socket.gethostname() or not is_alive(owner):
        return False
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(owner.pid)
        every = [*process.children(recursive=True), process]
        for each in every:
            with contextlib.suppress(psutil.Error):
                each.terminate()
        for each in psutil.wait_procs(every, ENDING_SECONDS)[1]:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(every, ENDING_SECONDS)
    return True
