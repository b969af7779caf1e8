"""The order of a queue: which runs, in which order, and not before when. No files here.

A change returns another `Queue`, so that a reader never sees half of one.
"""

import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trainer.runs.errors import RunError

FORMAT = 1
# A run's folder: a name, and no way out of the folder of runs.
_RUN_ID = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,254}")
_LATEST = 1e11  # seconds since 1970; the year 5138
_MOST_DEVICES = 64


class QueueError(RunError):
    """A change of a queue that is not possible; the message states why and what to do."""


@dataclass(frozen=True)
class Entry:
    """A run in a queue.

    Attributes:
        run: Its id.
        at: Not started before this time, in seconds since 1970; 0 as soon as a device is free.
        devices: Those that the worker gave it when it started it last; none before.
        tries: How often it was started in a row without reaching another checkpoint.
        step: Of its last checkpoint when it was started last.
    """

    run: str
    at: float = 0.0
    devices: tuple[str, ...] = ()
    tries: int = 0
    step: int = 0


@dataclass(frozen=True)
class Queue:
    """Runs in order.

    Attributes:
        entries: The next one first; those that are running are among them until they end.
        paused: No further run is started; those that are running go on.
        notice: What a person must know about the queue, a sentence; "" for nothing.
    """

    entries: tuple[Entry, ...] = ()
    paused: bool = False
    notice: str = ""
    by_run: dict[str, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_run", {each.run: each for each in self.entries})

    def find(self, run: str) -> Entry:
        """Returns the entry of a run; raises QueueError where it has none."""
        if run not in self.by_run:
            raise QueueError(f"{run} is not in the queue. `lorasmith queue list` shows what is.")
        return self.by_run[run]

    def add(self, run: str, at: float = 0.0) -> "Queue":
        """Returns the queue with a run at its end; raises QueueError where it is in it already."""
        if run in self.by_run:
            place = self.entries.index(self.by_run[run]) + 1
            raise QueueError(
                f"{run} is in the queue already, at place {place}. Use `lorasmith queue move` for "
                "another place or time."
            )
        return replace(self, entries=(*self.entries, Entry(run, at)))

    def remove(self, run: str) -> "Queue":
        """Returns the queue without a run; raises QueueError where it is not in it."""
        gone = self.find(run)
        return replace(self, entries=tuple(each for each in self.entries if each is not gone))

    def move(self, run: str, place: int) -> "Queue":
        """Returns the queue with a run at a place, 1 for the first; beyond the end is the last.

        Raises:
            QueueError: it is not in the queue, or the place is below 1.
        """
        if place < 1:
            raise QueueError(f"There is no place {place} in a queue: the first one is 1.")
        moved, others = self.find(run), list(self.remove(run).entries)
        others.insert(place - 1, moved)
        return replace(self, entries=tuple(others))

    def change(self, run: str, **values: Any) -> "Queue":
        """Returns the queue with other values of a run's entry; raises as `find`."""
        before = self.find(run)
        after = replace(before, **values)
        return replace(
            self, entries=tuple(after if each is before else each for each in self.entries)
        )


def to_table(queue: Queue) -> dict[str, Any]:
    """Returns what the file of a queue holds."""
    return {
        "format": FORMAT,
        "paused": queue.paused,
        "notice": queue.notice,
        "runs": [asdict(each) for each in queue.entries],
    }


def from_table(table: dict[str, Any]) -> tuple[Queue, bool]:
    """Returns the queue of a file's table, and whether all of the table could be used."""
    rows, paused, notice = table.get("runs"), table.get("paused"), table.get("notice", "")
    whole = isinstance(rows, list) and isinstance(paused, bool) and isinstance(notice, str)
    queue = Queue(paused=paused is True, notice=notice if isinstance(notice, str) else "")
    for row in rows if isinstance(rows, list) else []:
        entry = _read_entry(row)
        if entry is None or entry.run in queue.by_run:
            whole = False
            continue
        queue = replace(queue, entries=(*queue.entries, entry))
    return queue, whole


def _read_entry(row: Any) -> Entry | None:
    """Returns the entry of a row; None where it is none."""
    if not isinstance(row, dict):
        return None
    entry = Entry(
        **{"run": "", **{each.name: row[each.name] for each in fields(Entry) if each.name in row}}
    )
    devices = entry.devices
    if not isinstance(entry.run, str) or not _RUN_ID.fullmatch(entry.run):
        return None
    if not _is_number(entry.at) or type(entry.tries) is not int or type(entry.step) is not int:
        return None
    if not isinstance(devices, list | tuple) or len(devices) > _MOST_DEVICES:
        return None
    if not all(isinstance(each, str) for each in devices):
        return None
    return replace(entry, at=float(entry.at), devices=tuple(devices))


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and 0 <= value < _LATEST
