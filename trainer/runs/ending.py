"""Ending a run whose process does not stop by itself."""

import time

from trainer.runs.control import clear_requests
from trainer.runs.events import append_event
from trainer.runs.folder import RunFolder
from trainer.runs.ownership import is_owned
from trainer.runs.process import Owner, end_process, find_owner

ENDED = "Its process did not stop by itself and was ended."
_POLL_SECONDS = 0.1


def wait_for_end(run: RunFolder, seconds: float) -> bool:
    """Waits until no process works on a run; returns whether that came in time."""
    end = time.monotonic() + seconds
    while is_owned(run.path):
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def end_run(run: RunFolder, owner: Owner | None = None) -> None:
    """Ends the process that works on a run, without a checkpoint; the run counts as stopped.

    Args:
        run: The run.
        owner: The process; None is the one that owns the run's folder.
    """
    owner = owner or find_owner(run.path)
    if owner is None or not end_process(owner):
        return
    clear_requests(run.path)
    append_event(run.events_path, "ended", reason="stopped", message=ENDED)
