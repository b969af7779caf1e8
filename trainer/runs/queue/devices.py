"""Which process trains on a device: one at a time of those that the queue starts.

    queue/devices/cuda-0@COMPUTER/   owned, as a run is (`ownership`), by the process that trains

The lock is the system's and ends with the process. A device has one on each computer that uses the
workspace. A run that is started by hand takes the lock where it is free, so that the queue waits
for it, and trains without it where another process has it: that is for a person to decide.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from datasets_tools.bounded_json import UnreadableError, parse_json
from datasets_tools.disk import remove_quietly
from trainer.config import RunConfig
from trainer.runs.errors import RunError, explain_writing
from trainer.runs.events import EventReader
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.ownership import is_owned, own_folder
from trainer.runs.process import Owner, find_owner, read_boot
from trainer.runs.queue.file import find_folder
from trainer.runs.starting import has_worker
from trainer.runs.systems import list_quiet_options

DEVICE = re.compile(r"cpu|mps|cuda:\d{1,3}")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LEFTOVER_SECONDS = 7 * 86_400.0


class DeviceBusyError(RunError):
    """Another process trains on the device; the message names it."""


def name_computer() -> str:
    """Returns what names this computer in the names of folders: containers on it are the same."""
    return read_boot()[:8] or re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32] or "here"


def find_device_folder(root: Path, device: str) -> Path:
    """Returns the folder that the process owns which trains on a device of this computer."""
    folder = find_folder(root) / "devices"
    return folder / f"{device.replace(':', '-')}@{name_computer()}"


def is_device_free(root: Path, device: str) -> bool:
    """Whether no process has the lock of a device of this computer."""
    return not is_owned(find_device_folder(root, device))


def find_device_owner(root: Path, device: str) -> Owner | None:
    """Returns the process that has the lock of a device; None where it is free."""
    folder = find_device_folder(root, device)
    return find_owner(folder) if is_owned(folder) else None


@contextlib.contextmanager
def own_devices(root: Path, devices: Sequence[str]) -> Iterator[None]:
    """Holds the locks of devices for this process while the block runs.

    Raises:
        DeviceBusyError: another process has one of them.
        RunError: the workspace cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for device in devices:
            _enter(stack, root, device)
        yield


@contextlib.contextmanager
def own_free_devices(root: Path, devices: Sequence[str]) -> Iterator[list[str]]:
    """Holds the locks of those devices that are free.

    Yields:
        A sentence for each of the others.
    """
    with contextlib.ExitStack() as stack:
        messages = []
        for device in devices:
            try:
                _enter(stack, root, device)
            except DeviceBusyError as error:
                messages.append(str(error))
        yield messages


def _enter(stack: contextlib.ExitStack, root: Path, device: str) -> None:
    folder = find_device_folder(root, device)
    with explain_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if is_owned(folder):
        raise DeviceBusyError(_explain_busy(root, device))
    try:
        stack.enter_context(own_folder(folder))
    except RunError:
        if not is_owned(folder):
            raise  # it cannot be written
        raise DeviceBusyError(_explain_busy(root, device)) from None


def _explain_busy(root: Path, device: str) -> str:
    owner = find_device_owner(root, device)
    who = f"process {owner.pid}" if owner else "another process"
    run = find_run_of(root, owner)
    return (
        f"{device} is in use by {who}{f', which trains {run}' if run else ''}. "
        "`lorasmith queue add` has a run wait for its end."
    )


def find_run_of(root: Path, owner: Owner | None) -> str:
    """Returns the id of the run that a process trains; "" where it is not known."""
    for run in list_runs(root / "runs") if owner else []:
        other = find_owner(run.path)
        if other is not None and owner is not None and _is_same(other, owner):
            return run.id
    return ""


def _is_same(one: Owner, other: Owner) -> bool:
    return (one.pid, one.boot, one.ticks) == (other.pid, other.boot, other.ticks)


def use_devices(devices: Sequence[str], config: RunConfig) -> None:
    """Has this process train on devices that the queue chose; before torch is imported.

    Args:
        devices: As `list_devices` names them. Those of CUDA are the only ones that it sees, unless
            the settings name one of them already.
        config: The settings of the run.

    Raises:
        RunError: they are no devices of a kind, or the settings name another one.
    """
    kinds = {each.partition(":")[0] for each in devices}
    device = config.train.device
    if not devices or len(kinds) > 1 or not all(map(DEVICE.fullmatch, devices)):
        raise RunError("--on takes devices of one kind, such as cuda:1, cuda:0,cuda:1 or cpu.")
    if device not in {"auto", *kinds, devices[0]}:
        raise RunError(f"--on is {devices[0]}, but train.device is {device}. Leave out --on.")
    if kinds == {"cuda"} and device in {"auto", "cuda"}:
        visible = [each for each in os.environ.get(_VISIBLE, "").split(",") if each]
        numbers = [int(each.partition(":")[2]) for each in devices]
        if visible and max(numbers) >= len(visible):
            raise RunError(f"--on is {devices[0]}, but {_VISIBLE} is {','.join(visible)}.")
        os.environ[_VISIBLE] = ",".join(visible[each] if visible else str(each) for each in numbers)


def list_devices(command: Sequence[str]) -> tuple[str, ...]:
    """Returns the devices of this computer; the first ones are those that `auto` takes.

    PyTorch knows them, so they come from a process of their own.

    Args:
        command: What `queue devices --json` is appended to.

    Raises:
        RunError: PyTorch cannot be loaded.
    """
    try:
        done = subprocess.run(
            [*command, "queue", "devices", "--json"],
            capture_output=True,
            check=False,
            **list_quiet_options(),
        )
        devices = parse_json(done.stdout.strip())
    except (OSError, UnreadableError):
        devices = None
    listed = devices if isinstance(devices, list) else []
    names = tuple(str(each) for each in listed if DEVICE.fullmatch(str(each)))
    if not names:
        message = "PyTorch does not report any device. `lorasmith doctor` shows why."
        raise RunError(message)
    return names


def list_candidates(device: str, devices: Sequence[str]) -> list[str]:
    """Returns the devices that a run may take, by its `train.device`.

    Args:
        device: auto, a kind, or the name of one: with several processes those behind it, too.
        devices: All devices of the computer, those first that auto takes.
    """
    kind = (devices[0] if device == "auto" else device).partition(":")[0]
    same = [each for each in devices if each.partition(":")[0] == kind]
    if ":" not in device:
        return same
    return same[same.index(device) :] if device in same else []


def choose_devices(
    config: RunConfig, devices: Sequence[str], busy: Collection[str]
) -> tuple[list[str], list[str]]:
    """Returns the devices on which a run starts now, and those for which it waits.

    Both are empty where the computer has no such device.
    """
    candidates = list_candidates(config.train.device, devices)
    count = config.train.processes if candidates and candidates[0].startswith("cuda") else 1
    count = min(max(count, 1), len(candidates))
    if ":" in config.train.device:
        candidates = candidates[:count]
    free = [each for each in candidates if each not in busy]
    if candidates and len(free) >= count:
        return free[:count], []
    return [], candidates


def find_others(root: Path, devices: Sequence[str], queued: Collection[str]) -> set[str]:
    """Returns the devices on which runs train that the queue did not start and that have no lock.

    A run that is only on its way is counted on all of them: soon it is known on which.

    Args:
        root: The workspace.
        devices: All devices of the computer.
        queued: The ids of the runs in the queue.
    """
    owners = [owner for each in devices if (owner := find_device_owner(root, each))]
    busy: set[str] = set()
    for run in list_runs(root / "runs"):
        if run.id in queued or not has_worker(run.path):
            continue
        owner = find_owner(run.path)
        if owner is not None and any(_is_same(owner, each) for each in owners):
            continue
        device = _read_device(run)
        busy |= {device} if device in devices else set(devices)
    return busy


def _read_device(run: RunFolder) -> str:
    """Returns the device that a run reported since it was started; "" where it has not yet."""
    device = ""
    for event in EventReader(run.events_path).read_some(last_steps=True):
        if event["event"] == "started":
            device = ""
        elif event["event"] == "data":
            device = str(event.get("device", ""))
    return "cuda:0" if device == "cuda" else device


def remove_old_folders(root: Path) -> None:
    """Removes what is left of devices from before the computer was started last."""
    folder = find_folder(root) / "devices"
    for path in folder.glob("*@*") if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            age = time.time() - path.stat().st_mtime
            other = not path.name.endswith(f"@{name_computer()}")
            if other and age > _LEFTOVER_SECONDS and not is_owned(path):
                remove_quietly(path)
