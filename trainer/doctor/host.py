"""How the computer is looked at: the few calls that a test replaces to simulate another one."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil

from trainer.runs.systems import list_quiet_options

_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """What a program printed, and its exit code; None where it did not start or took too long."""

    code: int | None
    output: str = ""
    errors: str = ""


def run_program(command: Sequence[str], seconds: float = _SECONDS) -> Answer:
    """Runs a program to its end, without a window of its own."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "PYTHONUTF8": "1"},
            **list_quiet_options(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Answer(None, errors=str(error))
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Answer(done.returncode, output, errors)


def find_version(package: str) -> str:
    """Returns the installed version of a package without importing it; "" where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def find_module(name: str) -> Path | None:
    """Returns the file of a module without importing it; None where it is missing."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


@dataclass(frozen=True)
class Host:
    """The computer: its system, files and programs.

    Attributes:
        system: As in `sys.platform`.
        system_version: Its full name.
        processor: As in `platform.machine()`.
        python: Version of Python.
        macos: Version of macOS; empty elsewhere.
        root: Where /proc, /sys and /dev begin.
        environment: Variables of the environment.
        run: Runs a program to its end.
        which: Returns the path of a program; None where there is none.
        find_version: Returns the installed version of a package.
        find_module: Returns the file of a module.
        memory: Returns the main memory, and what of it is free.
        free_disk: Returns the free bytes of the disk on which a path lies.
    """

    system: str = sys.platform
    system_version: str = field(default_factory=platform.platform)
    processor: str = field(default_factory=platform.machine)
    python: tuple[int, int, int] = sys.version_info[:3]
    macos: str = field(default_factory=lambda: platform.mac_ver()[0])
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    run: Callable[[Sequence[str]], Answer] = run_program
    which: Callable[[str], str | None] = shutil.which
    find_version: Callable[[str], str] = find_version
    find_module: Callable[[str], Path | None] = find_module
    memory: Callable[[], tuple[int, int]] = lambda: _read_memory()
    free_disk: Callable[[Path], int] = lambda path: _read_disk(path)


def _read_memory() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _read_disk(path: Path) -> int:
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
