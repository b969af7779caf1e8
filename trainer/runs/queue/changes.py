"""What a person does with a queue: each is one change of its file, and an event of the run."""

from dataclasses import replace
from pathlib import Path

from trainer.runs.events import append_event, read_events
from trainer.runs.folder import RunFolder
from trainer.runs.queue.file import change_queue
from trainer.runs.queue.order import Queue, QueueError
from trainer.runs.starting import has_worker
from trainer.runs.status import read_status

REMOVED = "It was removed from the queue before it went on."


def add_run(root: Path, run: RunFolder, at: float = 0.0) -> Queue:
    """Adds a run to the end of the queue of its workspace.

    Args:
        root: The workspace.
        run: One that was never started, or that has ended and can go on.
        at: Not started before this time, in seconds since 1970; 0 as soon as its device is free.

    Raises:
        QueueError: it lies elsewhere, is in the queue, is being worked on, or is finished.
        RunError: the workspace cannot be written.
    """
    if run.path.resolve().parent != (root / "runs").resolve():
        raise QueueError(f"{run.path} is not in {root / 'runs'}, whose runs the queue starts.")
    with change_queue(root) as draft:
        queue = draft.queue.add(run.id, at)
        if has_worker(run.path):
            raise QueueError(f"{run.id} is being trained already. Wait for it, or stop it first.")
        if read_status(run.path).state == "finished":
            _refuse_finished(run)
        append_event(run.events_path, "queued", in_queue=True)
        draft.queue = queue
        draft.save()
    return queue


def _refuse_finished(run: RunFolder) -> None:
    last = max((each.step for each in run.list_checkpoints()), default=0)
    if run.config.train.steps <= last:
        raise QueueError(
            f"{run.id} is finished. Raise train.steps in its config.toml to train it further."
        )


def remove_run(root: Path, run_id: str) -> Queue:
    """Removes a run from the queue; the run itself stays as it is.

    Raises:
        QueueError: it is not in the queue, or it is being trained.
        RunError: the workspace cannot be written.
    """
    run = RunFolder(root / "runs" / run_id)
    with change_queue(root) as draft:
        queue = draft.queue.remove(run_id)
        if has_worker(run.path):
            raise QueueError(
                f"{run_id} is being trained. `lorasmith ask {run_id} stop` ends it, and the queue "
                "goes on with the next one."
            )
        if run.config_path.is_file() and read_status(run.path).state in {"queued", "lost"}:
            _report_removal(run)
        draft.queue = queue
        draft.save()
    return queue


def _report_removal(run: RunFolder) -> None:
    """Has the run no longer wait: by its last event it is as it was before it was added."""
    if any(each["event"] == "started" for each in read_events(run.events_path)):
        append_event(run.events_path, "ended", reason="stopped", message=REMOVED)
    else:
        append_event(run.events_path, "queued", in_queue=False)


def move_run(root: Path, run_id: str, place: int = 0, at: float | None = None) -> Queue:
    """Moves a run to another place in the queue, or gives it another time.

    Args:
        root: The workspace.
        run_id: The run.
        place: 1 is the first; 0 leaves it where it is.
        at: The time, as for `add_run`; None leaves it.

    Raises:
        QueueError: it is not in the queue, or there is no such place.
        RunError: the workspace cannot be written.
    """
    with change_queue(root) as draft:
        queue = draft.queue.change(run_id) if at is None else draft.queue.change(run_id, at=at)
        draft.queue = queue.move(run_id, place) if place else queue
        draft.save()
        return draft.queue


def pause_queue(root: Path) -> Queue:
    """Has the queue start no further run; those that are running go on."""
    with change_queue(root) as draft:
        draft.queue = replace(draft.queue, paused=True)
        draft.save()
        return draft.queue


def start_queue(root: Path) -> Queue:
    """Has the queue start runs again; what it had to report is taken as read."""
    with change_queue(root) as draft:
        draft.queue = replace(draft.queue, paused=False, notice="")
        draft.save()
        return draft.queue
