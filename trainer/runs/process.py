"""Processes: what names one for good, whether it still runs, and how one is started."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from datasets_tools.bounded_json import UnreadableError, read_table
from trainer.runs.systems import list_detach_options

OWNER_FILE = "process.json"
ENDING_SECONDS = 5.0
_MOST_BYTES = 1024**2
_LATEST = 1e12  # seconds
_START_FIELD = 19  # of /proc/PID/stat, behind the name


@dataclass(frozen=True)
class Owner:
    """A process, distinguished from a later one with the same number by when it started.

    Attributes:
        pid: Its number.
        started: When, in seconds since 1970, for people: it moves when the clock is set.
        host: The name of its computer, for people: it may be changed.
        command: Its command line.
        boot: Names the computer since it was switched on, containers included; "" unknown.
        ticks: When it started, in ticks since then; 0 where the system has no such number.
        locks: Whether it holds a lock for as long as it works.
    """

    pid: int
    started: float
    host: str
    command: list[str]
    boot: str = ""
    ticks: int = 0
    locks: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this computer, by whatever name."""
        boot = read_boot()
        return self.boot == boot if self.boot and boot else self.host == socket.gethostname()


def describe_process(pid: int, command: Sequence[str], *, locks: bool = False) -> Owner:
    """Returns what distinguishes a process; where it is gone already, nothing matches that."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:
        started = 0.0
    host, boot = socket.gethostname(), read_boot()
    return Owner(pid, started, host, list(command), boot, read_ticks(pid), locks)


def read_owner(path: Path) -> Owner | None:
    """Returns the process that a file names; None where there is none, or it is damaged."""
    try:
        data = read_table(path, _MOST_BYTES)
    except (OSError, UnreadableError):
        return None
    kinds = {"pid": int, "host": str, "command": list, "boot": str, "ticks": int, "locks": bool}
    known = {name: data[name] for name in kinds if name in data}
    started: Any = data.get("started")
    if any(type(value) is not kinds[name] for name, value in known.items()):
        return None
    if not {"pid", "host", "command"} <= known.keys() or type(started) not in {int, float}:
        return None
    return Owner(started=float(started), **known) if abs(started) < _LATEST else None


def find_owner(folder: Path) -> Owner | None:
    """Returns the process that owns the folder, dead or alive; None when there is none."""
    return read_owner(folder / OWNER_FILE)


def is_alive(owner: Owner | None) -> bool:
    """Returns whether a process still runs on this computer.

    Whether a folder is worked on is another question: `is_owned`.
    """
    if owner is None or not owner.is_here or owner.pid <= 0:
        return False
    try:
        process = psutil.Process(owner.pid)
        if str(process.status()) == str(psutil.STATUS_ZOMBIE):
            return False
        if owner.ticks:
            return read_ticks(owner.pid) == owner.ticks
        return bool(abs(process.create_time() - owner.started) < 1.0)
    except (psutil.Error, OverflowError):
        return False


def read_ticks(pid: int) -> int:
    """Returns when a process started, in ticks since the computer did; 0 where that is unknown.

    Setting the clock does not move it, unlike the time that psutil makes of it.
    """
    try:
        # The name before it may hold anything, a bracket as well.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0


@functools.cache
def read_boot() -> str:
    """Returns what names this computer since it was switched on; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


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
    if not is_alive(owner):
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
