"""`events.jsonl`: what happened to a run, appended by the trainer, read by everyone.

| event | data |
|---|---|
| queued | name |
| started | from_step, steps |
| data | examples, buckets (`"128x128": count`), device, precision, layers, parameters |
| cache | what, done, total |
| measured | base_model, prediction ("": unknown), assumed, margin, distances, evidence, message |
| memory | settings (by path), needed_bytes, planned_bytes, free_bytes, message |
| step | step, steps, loss, learning_rates, steps_per_second, seconds_left, memory_bytes |
| sample | step, index, prompt, seed, weight, file (relative to the run) |
| checkpoint | step, folder (relative to the run) |
| paused, resumed | step |
| warning | message |
| diverged | step, from_step (where it goes on, at half the learning rates) |
| evaluation | checkpoint (its step), verdict, weight, score, losses (by time step) |
| exported | file, bytes, modules, max_relative_error, sha256 |
| embedding | step, file (relative to the run), word, vectors |
| ended | reason (finished, stopped, failed), message, step |
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Literal

from trainer.runs.errors import explain_writing

EventKind = Literal[
    "queued",
    "started",
    "data",
    "cache",
    "measured",
    "memory",
    "step",
    "sample",
    "checkpoint",
    "paused",
    "resumed",
    "warning",
    "diverged",
    "evaluation",
    "exported",
    "embedding",
    "ended",
]
Event = dict[str, Any]


def append_event(path: Path, kind: EventKind, **data: Any) -> Event:
    """Appends one line and flushes it, so that a reader and a crash see whole lines only.

    Raises:
        RunWriteError: the run's folder is gone, full or read-only.
    """
    event: Event = {"event": kind, "time": round(time.time(), 3), **data}
    line = json.dumps(event, ensure_ascii=False).encode("utf-8") + b"\n"
    with explain_writing(path.parent):
        # One write call on a file opened for appending: two processes cannot mix their lines.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if _lacks_newline(path):  # a line cut off by a crash must not swallow this one
                line = b"\n" + line
            os.write(handle, line)
        finally:
            os.close(handle)
    return event


class EventReader:
    """Reads new events since the last call; keeps a byte offset and leaves half a last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def read_new(self) -> list[Event]:
        """Returns the events that were appended since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                chunk = file.read()
        except FileNotFoundError:
            return []
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [event for line in whole.splitlines() if (event := _parse(line))]


def read_events(path: Path) -> list[Event]:
    """Returns all events of a run."""
    return EventReader(path).read_new()


def _lacks_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
