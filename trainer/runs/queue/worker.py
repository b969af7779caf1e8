"""The worker of a queue: one process a computer and workspace, with a place for each device.

It starts the trainer on the next run as soon as its device is free, as a process of its own, and
keeps nothing in memory that matters: which runs are being trained is seen from their processes,
which have ended from their events. So a worker that is killed leaves the trainers at work, and the
next one goes on where it was.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets_tools.disk import remove_file
from datasets_tools.errors import LorasmithError
from datasets_tools.files import explain_os_error
from trainer.config import RunConfig
from trainer.runs.control import clear_requests, request
from trainer.runs.errors import RunError, explain_writing
from trainer.runs.events import append_event
from trainer.runs.folder import RunFolder
from trainer.runs.ownership import is_owned, own_folder
from trainer.runs.previews import PreviewFolder
from trainer.runs.process import is_alive
from trainer.runs.queue.devices import (
    choose_devices,
    find_others,
    is_device_free,
    list_devices,
    name_computer,
    remove_old_folders,
)
from trainer.runs.queue.file import Draft, change_queue, find_folder, read_queue
from trainer.runs.queue.order import Entry
from trainer.runs.queue.rows import ENDED
from trainer.runs.starting import STARTER_FILE, find_starter, has_worker, start_process
from trainer.runs.status import read_status

POLL_SECONDS = 0.5
# How often a run is started in a row whose process ends unexpectedly at the same step.
MOST_TRIES = 5
_AGAIN_SECONDS = 5.0  # after which a worker that has ended with work left is started once more
_REST = 20  # times as long as a look takes, at least
_PAUSE_SECONDS = 1.0  # before the second try, twice as long before each further one
_LOG_BYTES = 65_536
_PROGRAM = "lorasmith: "


def find_worker_folder(root: Path) -> Path:
    """Returns the folder that the worker of this computer owns."""
    return find_folder(root) / f"worker@{name_computer()}"


def ensure_worker(root: Path, command: Sequence[str], *, at_once: bool = False) -> bool:
    """Starts the worker, if the queue has something to do and there is none.

    Args:
        root: The workspace.
        command: What `queue work` is appended to, and `train RUN` by the worker.
        at_once: Also where one has ended a moment ago, which it does when it cannot work.

    Returns:
        Whether it was started.

    Raises:
        RunError: it cannot be started, or the queue cannot be read.
    """
    if not _has_work(root) or is_owned(find_worker_folder(root)):
        return False
    folder = find_worker_folder(root)
    with change_queue(root):
        starter = find_starter(folder)
        if not _has_work(root) or is_owned(folder) or is_alive(starter):
            return False
        if starter and not at_once and abs(time.time() - starter.started) < _AGAIN_SECONDS:
            return False
        with explain_writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            words = [*command, "queue", "work", f"--workspace={root}"]
            start_process(folder, words, folder / "log.txt")
    return True


def has_queue_worker(root: Path) -> bool:
    """Whether a worker of this computer is at work on the queue, or on its way."""
    return has_worker(find_worker_folder(root))


def _has_work(root: Path) -> bool:
    queue = read_queue(root)
    return bool(queue.entries) and not queue.paused


def serve_queue(root: Path, command: Sequence[str]) -> None:
    """Works on the queue until there is nothing left to do.

    Args:
        root: The workspace.
        command: What `train RUN --on DEVICE` is appended to.

    Raises:
        RunError: another worker is at work, or the workspace cannot be written.
    """
    folder = find_worker_folder(root)
    with explain_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_folder(folder))
        devices = _find_devices(root, command)
        worker = QueueWorker(root, command, devices)
        while True:
            began = time.monotonic()
            with change_queue(root) as draft:
                if not devices or not worker.step(draft):
                    # While nobody can add a run: whoever does next sees that there is no worker.
                    draft.save()
                    remove_file(folder / STARTER_FILE, missing_ok=True)
                    stack.close()
                    return
            # A long queue takes a while to look through, and must not take the core from training.
            time.sleep(max(POLL_SECONDS, _REST * (time.monotonic() - began)))


def _find_devices(root: Path, command: Sequence[str]) -> tuple[str, ...]:
    remove_old_folders(root)
    try:
        devices = list_devices(command)
    except RunError as error:
        with change_queue(root) as draft:
            draft.queue = replace(draft.queue, paused=True, notice=str(error))
        _log(str(error))
        return ()
    _log(f"works on {', '.join(devices)}")
    return devices


class QueueWorker:
    """Starts what can be started, at each step.

    Args:
        root: The workspace.
        command: What `train RUN --on DEVICE` is appended to.
        devices: Those of this computer, the ones that auto takes first.
    """

    def __init__(self, root: Path, command: Sequence[str], devices: Sequence[str]) -> None:
        self._root, self._command, self._devices = root, command, devices
        self._not_before: dict[str, float] = {}
        self._configs: dict[Path, tuple[object, RunConfig]] = {}
        self._looked = False

    def step(self, draft: Draft) -> bool:
        """Removes what has ended and starts what is next; returns whether there is work left."""
        waiting, active = self._sort(draft)
        if draft.queue.paused or not waiting:
            return bool(active)
        busy = {each for entry in active for each in entry.devices}
        busy |= {each for each in self._devices if not is_device_free(self._root, each)}
        self._looked = False
        for entry in waiting:
            if entry.at <= time.time() and not busy >= set(self._devices):
                busy |= self._start(draft, entry, busy)
        return True

    def _sort(self, draft: Draft) -> tuple[list[Entry], list[Entry]]:
        """Returns the runs that wait and those that are being trained; removes the others."""
        waiting, active = [], []
        for entry in draft.queue.entries:
            run = self._find(entry)
            if has_worker(run.path):
                active.append(entry)
                continue
            state = read_status(run.path).state
            if not run.config_path.is_file():
                _log(f"{entry.run} is gone")
            elif state in ENDED:
                _log(f"{entry.run} {state}")
            else:
                waiting.append(entry)
                continue
            draft.queue = draft.queue.remove(entry.run)
        return waiting, active

    def _start(self, draft: Draft, entry: Entry, busy: set[str]) -> set[str]:
        """Starts a run where a device is free for it; returns the devices that it takes up."""
        run = self._find(entry)
        try:
            config = self._read_config(run)
        except (LorasmithError, OSError) as error:
            reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
            self._give_up(draft, entry, f"Its config.toml cannot be read: {reason}")
            return set()
        devices, waits_for = self._choose(draft, config, busy)
        if not devices:
            if not waits_for:
                there = ", ".join(self._devices)
                self._give_up(
                    draft,
                    entry,
                    f"train.device is {config.train.device}, and this computer has {there}. "
                    "Change it in the run's config.toml and resume the run.",
                )
            return set(waits_for)
        entry = self._count(entry, run)
        if entry.tries > MOST_TRIES:
            self._give_up(draft, entry, _explain_tries(run, entry))
            return set()
        if time.time() < self._not_before.get(entry.run, 0.0):
            return set(devices)
        self._not_before[entry.run] = time.time() + _PAUSE_SECONDS * 2**entry.tries
        draft.queue = draft.queue.change(
            entry.run, devices=tuple(devices), tries=entry.tries, step=entry.step
        )
        draft.save()  # a worker that is killed now must not be taken for one that did nothing
        self._spawn(run, devices)
        return set(devices)

    def _choose(
        self, draft: Draft, config: RunConfig, busy: set[str]
    ) -> tuple[list[str], list[str]]:
        """Returns what `choose_devices` does; looks at runs started by hand before one starts."""
        devices, waits_for = choose_devices(config, self._devices, busy)
        if devices and not self._looked:
            self._looked = True
            busy |= find_others(self._root, self._devices, draft.queue.by_run.keys())
            devices, waits_for = choose_devices(config, self._devices, busy)
        return devices, waits_for

    def _read_config(self, run: RunFolder) -> RunConfig:
        facts = run.config_path.stat()
        stamp = facts.st_mtime_ns, facts.st_size, facts.st_ino
        known = self._configs.get(run.path)
        if known is None or known[0] != stamp:
            known = self._configs[run.path] = stamp, run.config
        return known[1]

    def _count(self, entry: Entry, run: RunFolder) -> Entry:
        """Returns the entry with one try more; another checkpoint starts the count anew."""
        step = max((each.step for each in run.list_checkpoints()), default=0)
        again = entry.tries > 0 and entry.step == step
        return replace(entry, tries=entry.tries + 1 if again else 1, step=step)

    def _spawn(self, run: RunFolder, devices: Sequence[str]) -> None:
        preview = PreviewFolder(self._root / "preview").path
        if has_worker(preview):  # it holds a base model, and a small card fits only one
            request(preview, "stop")
        clear_requests(run.path)  # a stop that nobody obeyed must not end the new process
        _log(f"{run.id} starts on {', '.join(devices)}")
        try:
            words = [*self._command, "train", str(run.path), f"--on={','.join(devices)}"]
            start_process(run.path, words, run.log_path)
        except OSError as error:
            _log(f"{run.id} cannot be started: {explain_os_error(error)}")

    def _give_up(self, draft: Draft, entry: Entry, message: str) -> None:
        _log(f"{entry.run} failed: {message}")
        with contextlib.suppress(RunError):
            append_event(self._find(entry).events_path, "ended", reason="failed", message=message)
        draft.queue = draft.queue.remove(entry.run)

    def _find(self, entry: Entry) -> RunFolder:
        return RunFolder(self._root / "runs" / entry.run)


def _explain_tries(run: RunFolder, entry: Entry) -> str:
    """Returns why a run is not started once more, with what its process complained of last."""
    try:
        with run.log_path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    complaints = [each.strip() for each in lines if each.startswith(_PROGRAM)]
    last = complaints[-1].removeprefix(_PROGRAM) if complaints else "its log may show why"
    return (
        f"Its process ended {MOST_TRIES} times in a row at step {entry.step}, so the queue went on "
        f"without it: {last}"
    )


def _log(message: str) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stdout.write(f"{moment}  {message}\n")
    sys.stdout.flush()
