"""`events.jsonl`: what happened to a run, appended by the trainer, read by everyone.

| event | data |
|---|---|
| queued | name; when it is added to or removed from the queue, in_queue |
| started | from_step, steps |
| data | examples, buckets (`"128x128": count`), device, precision, processes, layers, parameters |
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from datasets_tools.bounded_json import UnreadableError, parse_json
from trainer.runs.errors import explain_writing

# What readers rely on. A line whose fields are of other types was not written by a trainer.
_FIELDS: dict[str, tuple[type, ...]] = {
    "time": (int, float),
    "step": (int,),
    "steps": (int,),
    "from_step": (int,),
    "index": (int,),
    "seed": (int,),
    "loss": (int, float, type(None)),
    "seconds_left": (int, float, type(None)),
    "done": (int,),
    "total": (int,),
    "name": (str,),
    "message": (str,),
    "reason": (str,),
    "file": (str,),
    "prompt": (str,),
    "what": (str,),
}
_LARGEST = 1e15
_PIECE = 1024**2  # bytes, and the longest line
_STEP = b'{"event": "step"'

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
            while line := line[os.write(handle, line) :]:
                pass  # a disk that is nearly full takes a part at a time
        finally:
            os.close(handle)
    return event


class EventReader:
    """Reads new events since the last call; keeps a byte offset and leaves half a last line.

    Attributes:
        offset: The first byte that was not read yet.
        damaged: How many lines are no events, or have fields of the wrong type; they are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.damaged = 0
        self._within_long = False

    def read_new(self) -> list[Event]:
        """Returns the events that were appended since the last call."""
        return list(self.read_some())

    def read_some(self, *, last_steps: bool = False) -> Iterator[Event]:
        """Yields the events that were appended since the last call, a piece of the file at a time.

        Args:
            last_steps: Of several steps in a row, yields the last one only; most are.
        """
        waiting = b""
        for line in self._read_lines():
            if last_steps and line.startswith(_STEP):
                waiting = line
                continue
            for each in (waiting, line):
                if each and (event := self._parse(each)):
                    yield event
            waiting = b""
        if waiting and (event := self._parse(waiting)):
            yield event

    def _read_lines(self) -> Iterator[bytes]:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            while chunk := file.read(_PIECE):
                length = chunk.rfind(b"\n") + 1
                if not length and len(chunk) < _PIECE:
                    return
                lines = chunk[:length].split(b"\n")[:-1]
                self.offset += length or len(chunk)
                if self._within_long:  # its beginning is counted, its end is no line
                    lines = lines[1:]
                elif not length:
                    lines = [b"?"]  # no event is that long
                self._within_long = not length
                yield from lines
                file.seek(self.offset)

    def _parse(self, line: bytes) -> Event | None:
        event = parse_event(line)
        self.damaged += event is None and bool(line.strip())
        return event


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


def parse_event(line: bytes) -> Event | None:
    """Returns the event of a line; None where it is none or a field has the wrong type."""
    try:
        event = parse_json(line)
    except UnreadableError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    for name, kinds in _FIELDS.items():
        value = event.get(name)
        if name in event and (type(value) not in kinds or not _is_within(value)):
            return None
    return event


def _is_within(value: object) -> bool:
    return not isinstance(value, int | float) or abs(value) < _LARGEST  # no NaN either
