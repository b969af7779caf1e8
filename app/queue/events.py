"""What happens in the queue: runs moved, given a time or removed; the queue paused and started."""

import time
from types import SimpleNamespace
from typing import Any

from app.core.queues import find_entry, start_worker
from app.core.workspace import Workspace, WorkspaceError
from app.queue import text
from app.ui.markup import note
from trainer.runs import RunError
from trainer.runs.queue import move_run, pause_queue, remove_run, start_queue
from trainer.runs.queue.times import show_time

_LATEST = 4e9  # seconds since 1970; the year 2096


class QueueEvents:
    """The queue's events; the browser knows a run by its id."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def command(self, event: SimpleNamespace) -> dict[str, Any] | None:
        """Does what a button of the queue is for."""
        key, run = getattr(event, "key", ""), getattr(event, "run", "")
        try:
            message = self._do(key, run, getattr(event, "at", ""))
        except (WorkspaceError, RunError) as error:
            return {"message": note(str(error), "error")}
        return None if message is None else {"message": note(message)}

    def _do(self, key: str, run: object, at: object) -> str | None:
        root = self.workspace.root
        if key == "pause":
            pause_queue(root)
            return text.PAUSED_NOW
        if key == "start":
            start_queue(root)
            start_worker(self.workspace)
            return text.STARTED_NOW
        if key not in {"up", "down", "remove", "at"}:
            return None
        _queue, place = find_entry(self.workspace, run)
        if key == "remove":
            remove_run(root, str(run))
            return text.REMOVED
        if key == "at":
            return self._set_time(str(run), at)
        move_run(root, str(run), max(1, place - 1 if key == "up" else place + 1))
        return ""

    def _set_time(self, run: str, at: object) -> str:
        """Gives a run its time, in seconds since 1970 as the browser worked it out."""
        try:
            seconds = float(str(at)) if at else 0.0
        except ValueError:
            raise WorkspaceError(text.NO_TIME) from None
        if not 0 <= seconds < _LATEST:
            raise WorkspaceError(text.NO_TIME)
        later = seconds if seconds > time.time() else 0.0
        move_run(self.workspace.root, run, at=later)
        return text.starts_at(show_time(later)) if later else text.AT_ANY_TIME
