"""A queue as people see it: a row for each run that waits or is being trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_tools.errors import LorasmithError
from trainer.runs.folder import RunFolder
from trainer.runs.queue.file import read_queue
from trainer.runs.queue.order import Entry
from trainer.runs.starting import has_worker
from trainer.runs.status import RunStatus, read_status

# The states after which the queue has nothing more to do with a run.
ENDED = frozenset({"finished", "stopped", "failed"})


@dataclass(frozen=True)
class Row:
    """A run in the queue.

    Attributes:
        run: Its id.
        name: As in its settings; its id where they cannot be read.
        place: Of the row, 1 for the first.
        device: Those on which it is trained, else its `train.device`.
        state: "again" is a run whose process ended unexpectedly and that will be started again.
        at: It is not started before this time, in seconds since 1970; 0 for no time.
        status: What is known of the run itself.
    """

    run: str
    name: str
    place: int
    device: str
    state: Literal["running", "waiting", "again"]
    at: float
    status: RunStatus


def list_rows(root: Path) -> list[Row]:
    """Returns the rows of the queue of a workspace, in order; what has ended is left out.

    Raises:
        RunError: the queue cannot be read.
    """
    rows: list[Row] = []
    for entry in read_queue(root).entries:
        row = _make_row(RunFolder(root / "runs" / entry.run), entry, len(rows) + 1)
        if row is not None:
            rows.append(row)
    return rows


def _make_row(run: RunFolder, entry: Entry, place: int) -> Row | None:
    active = has_worker(run.path)
    status = read_status(run.path)
    if not run.config_path.is_file() or (not active and status.state in ENDED):
        return None
    try:
        config = run.config
        name, device = config.name, config.train.device
    except (LorasmithError, OSError):
        name, device = run.id, "?"
    if active:
        device = ", ".join(entry.devices) or device
    waits: Literal["waiting", "again"] = "again" if status.state == "lost" else "waiting"
    return Row(run.id, name, place, device, "running" if active else waits, entry.at, status)
