"""The queue of a workspace as the page shows it, and what keeps its worker at work."""

import functools
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.core import text
from app.core.examples import look
from app.core.run_lists import list_run_views
from app.core.run_views import RunView
from app.core.workspace import Workspace, WorkspaceError, stamp_file
from datasets_tools.errors import LorasmithError
from trainer.config import RunConfig, read_config
from trainer.runs import RunError, RunFolder, create_run
from trainer.runs.queue import Queue, add_run, ensure_worker, read_queue
from trainer.runs.queue.file import find_file
from trainer.runs.queue.order import Entry

_KEEP_SECONDS = 2.0
_ENDED = {"finished", "stopped", "failed"}


@dataclass(frozen=True)
class QueueRow:
    """A run in the queue.

    Attributes:
        view: The run.
        device: Those on which it is trained, else its `train.device`.
        place: 1 for the first.
        at: It is not started before this time, in seconds since 1970; 0 for no time.
    """

    view: RunView
    device: str
    place: int
    at: float


@dataclass(frozen=True)
class QueueView:
    """The queue at a glance: its rows in order, whether it is paused, and what is to be known."""

    rows: tuple[QueueRow, ...] = ()
    paused: bool = False
    notice: str = ""

    @property
    def waiting(self) -> int:
        """How many runs wait for a device."""
        return sum(not row.view.busy for row in self.rows)


def view_queue(workspace: Workspace) -> QueueView:
    """Returns the queue; what has ended is left out."""
    try:
        queue = look(find_file(workspace.root), lambda: read_queue(workspace.root))
    except RunError as error:
        return QueueView(notice=str(error))
    if not queue.entries:
        return QueueView((), queue.paused, queue.notice)
    views = list_run_views(workspace).by_id
    rows: list[QueueRow] = []
    for entry in queue.entries:
        view = views.get(entry.run)
        if view is None or (view.state in _ENDED and view.message != text.DIED_BEFORE_START):
            continue
        device = ", ".join(entry.devices) if view.busy else ""
        device = device or _read_device(workspace, entry)
        rows.append(QueueRow(view, device, len(rows) + 1, entry.at))
    return QueueView(tuple(rows), queue.paused, queue.notice)


def _read_device(workspace: Workspace, entry: Entry) -> str:
    path = workspace.runs_path / entry.run / "config.toml"
    return _read_device_of(path, stamp_file(path))


@functools.lru_cache(maxsize=512)
def _read_device_of(path: Path, _stamp: object) -> str:
    try:
        return read_config(path).train.device
    except (LorasmithError, OSError):
        return "?"


def enqueue_new_run(workspace: Workspace, config: RunConfig) -> int:
    """Creates a run at the end of the queue and returns its place; raises as `enqueue_run`."""
    try:
        run = create_run(workspace.runs_path, config)
    except RunError as error:
        raise WorkspaceError(str(error)) from error
    return enqueue_run(workspace, run)


def enqueue_run(workspace: Workspace, run: RunFolder) -> int:
    """Adds a run to the end of the queue and returns its place.

    Raises:
        WorkspaceError: it is there already, or the folder cannot be written, or the worker cannot
            be started.
    """
    try:
        add_run(workspace.root, run)
    except RunError as error:
        raise WorkspaceError(str(error)) from error
    start_worker(workspace)
    return next((row.place for row in view_queue(workspace).rows if row.view.id == run.id), 1)


def start_worker(workspace: Workspace) -> None:
    """Starts the worker at once, where the queue has something to do.

    Raises:
        WorkspaceError: it cannot be started.
    """
    try:
        ensure_worker(workspace.root, workspace.trainer_command, at_once=True)
    except OSError as error:
        raise WorkspaceError(text.cannot_spawn(str(error))) from error
    except RunError as error:
        raise WorkspaceError(str(error)) from error


def keep_worker(workspace: Workspace) -> threading.Event:
    """Sees to it, as long as this process lives, that the queue has a worker while it needs one.

    Returns:
        What ends that when it is set.
    """
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(_KEEP_SECONDS):
            with suppress(RunError, OSError):  # the page shows what is wrong with the queue
                ensure_worker(workspace.root, workspace.trainer_command)

    threading.Thread(target=keep, name="worker of the queue", daemon=True).start()
    return ended


def find_entry(workspace: Workspace, run_id: object) -> tuple[Queue, int]:
    """Returns the queue and the place of a run in it, 1 for the first.

    Raises:
        WorkspaceError: it is not in the queue, or the queue cannot be read.
    """
    try:
        queue = read_queue(workspace.root)
        return queue, queue.entries.index(queue.find(str(run_id))) + 1
    except RunError as error:
        raise WorkspaceError(str(error)) from error
