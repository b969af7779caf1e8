"""The file of a queue, `queue/queue.json` in the workspace: read whole, changed under a lock.

A run that is added to the queue gets an event `queued` with `"in_queue": true`, so that a queue
whose file is damaged is made again from the runs themselves.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from datasets_tools.bounded_json import UnreadableError, read_table
from datasets_tools.disk import replace_file
from datasets_tools.files import explain_os_error, write_atomically
from trainer.runs.errors import explain_writing
from trainer.runs.events import read_events
from trainer.runs.folder import RunFolder, list_runs
from trainer.runs.queue.order import Queue, QueueError, from_table, to_table

_MOST_BYTES = 4 * 1024**2
_LOCK_SECONDS = 10.0
_CYCLE = {"queued", "ended"}


class Draft:
    """A queue that is being changed by this process alone.

    Attributes:
        queue: As it will be; `save` writes it before the block ends.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.queue, self._saved = _read_or_repair(root)

    def save(self) -> None:
        """Writes the queue, if it was changed."""
        if self.queue != self._saved:
            with explain_writing(find_folder(self._root)):
                write_atomically(find_file(self._root), json.dumps(to_table(self.queue), indent=1))
            self._saved = self.queue


def find_folder(root: Path) -> Path:
    """Returns the folder of a workspace's queue."""
    return root / "queue"


def find_file(root: Path) -> Path:
    """Returns the file of a workspace's queue."""
    return find_folder(root) / "queue.json"


def read_queue(root: Path) -> Queue:
    """Returns the queue of a workspace; an empty one where it has none.

    A damaged file is set aside, and the queue made again from the runs (`change_queue`).

    Raises:
        RunError: it cannot be read, or it is damaged and the folder cannot be written.
    """
    queue = _read(root)
    if queue is not None:
        return queue
    with change_queue(root) as draft:
        return draft.queue


@contextlib.contextmanager
def change_queue(root: Path) -> Iterator[Draft]:
    """Yields the queue to change; what it is after the block is written, unless that raises.

    Raises:
        RunError: another process is changing it for long, or the folder cannot be written.
    """
    folder = find_folder(root)
    with explain_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / ".queue.lock"), timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            message = "The queue is being changed by another process. Try again in a moment."
            raise QueueError(message) from None
    try:
        draft = Draft(root)
        yield draft
        draft.save()
    finally:
        lock.release()


def _read(root: Path) -> Queue | None:
    """Returns the queue; None where its file is damaged."""
    path = find_file(root)
    try:
        queue, whole = from_table(read_table(path, _MOST_BYTES))
    except FileNotFoundError:
        return Queue()
    except UnreadableError:
        return None
    except OSError as error:
        raise QueueError(f"{path} cannot be read: {explain_os_error(error)}") from error
    return queue if whole else None


def _read_or_repair(root: Path) -> tuple[Queue, Queue | None]:
    """Returns the queue, and what of it is in the file."""
    queue = _read(root)
    return (queue, queue) if queue is not None else (_repair(root), None)


def _repair(root: Path) -> Queue:
    """Sets a damaged file aside; returns a queue, paused, of what it and the runs still show."""
    path = find_file(root)
    try:
        queue, _ = from_table(read_table(path, _MOST_BYTES))
    except UnreadableError:
        queue = Queue()
    aside = path.with_name(f"queue-damaged-{time.time_ns() // 1_000_000}.json")
    with explain_writing(path.parent):
        replace_file(path, aside)
    known = len(queue.entries)
    for run in _list_queued(root):
        if run.id not in queue.by_run:
            queue = queue.add(run.id)
    added = len(queue.entries) - known
    return replace(
        queue,
        paused=True,
        notice=(
            f"The queue's file was damaged and is now {aside.name}. {known} of its runs could be "
            f"read, and {added} more were found that have not ended, in the order in which they "
            "were added and without their times. Check the order, then start the queue."
        ),
    )


def _list_queued(root: Path) -> list[RunFolder]:
    """Returns the runs that were added to the queue and have not ended since, by that time."""
    queued = []
    for run in list_runs(root / "runs"):
        try:
            events = [each for each in read_events(run.events_path) if each["event"] in _CYCLE]
        except OSError:
            continue
        if events and events[-1]["event"] == "queued" and events[-1].get("in_queue") is True:
            queued.append((float(events[-1].get("time", 0)), run.id, run))
    return [run for *_, run in sorted(queued, key=lambda each: each[:2])]
