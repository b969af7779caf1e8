"""Runs: their events and states, and what may be chosen on the page."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from app.core import text
from trainer.runs import (
    EventReader,
    EventSummary,
    RunFolder,
    explain_unreadable,
    is_owned,
    read_requests,
)
from trainer.runs.events import Event
from trainer.runs.starting import is_starting, read_start
from trainer.runs.status import State

ShownState = State | Literal["starting"]

_LOG_BYTES = 64 * 1024
_MAX_SAMPLES = 20_000
_STARTABLE = {"queued", "stopped", "failed", "lost", "damaged"}


@dataclass
class _Log:
    """What was read of a run's events so far."""

    reader: EventReader
    identity: tuple[int, int]
    summary: EventSummary = field(default_factory=EventSummary)
    samples: dict[str, Event] = field(default_factory=dict)  # by file


_logs: dict[Path, _Log] = {}
_lock = threading.RLock()


@dataclass(frozen=True)
class RunView:
    """A run at a glance."""

    id: str
    name: str
    state: ShownState
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    phase: str = ""
    message: str = ""
    pending: frozenset[str] = frozenset()
    created: float = 0.0
    samples: int = 0
    saved: int = 0

    @property
    def busy(self) -> bool:
        """Whether a process works on the run or is on its way."""
        return self.state in {"starting", "running", "paused"}

    @property
    def can_resume(self) -> bool:
        """Whether starting the trainer on it begins or continues it."""
        return self.state in _STARTABLE

    @property
    def percent(self) -> int:
        """How much of the run is done, 0 to 100."""
        if self.state == "finished":
            return 100
        return min(100, round(100 * self.step / self.steps)) if self.steps else 0


def view_run(run: RunFolder) -> RunView:
    """Returns the run's state by its files; one that cannot be read is damaged."""
    try:
        summary = _read_log(run.events_path).summary
        alive = is_owned(run.path)
        status = summary.derive(alive=alive, checkpoints=None if alive else run.list_checkpoints())
    except OSError as error:
        summary, status = EventSummary(), explain_unreadable(run.path, error)
    state: ShownState = status.state
    message, step, loss = status.message, status.step, status.loss
    if status.can_start:
        # A process from before the run came into the queue means nothing any more.
        recent = read_start(run.path) > summary.last_time - 1
        if recent and is_starting(run.path):
            state, message, step, loss = "starting", "", status.saved, None
        elif recent and status.state == "queued":
            state, message = "failed", text.DIED_BEFORE_START
    return RunView(
        id=run.id,
        name=summary.name or run.id,
        state=state,
        step=step,
        steps=status.steps,
        loss=loss,
        seconds_left=status.seconds_left,
        phase=status.phase,
        message=message,
        pending=frozenset(read_requests(run.path)),
        created=summary.first_time,
        samples=summary.samples,
        saved=status.saved,
    )


def _read_log(path: Path) -> _Log:
    """Returns what a run's events come to; what stays between calls is a few of them.

    When the file was replaced or became shorter, it is read anew.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        return _Log(EventReader(path), (0, 0))
    identity = (facts.st_dev, facts.st_ino)
    with _lock:
        log = _logs.get(path)
        if log is None or log.identity != identity or facts.st_size < log.reader.offset:
            log = _logs[path] = _Log(EventReader(path), identity)
        if facts.st_size > log.reader.offset:
            for event in log.reader.read_some(last_steps=True):
                log.summary.add(event)
                if event["event"] == "sample" and len(log.samples) < _MAX_SAMPLES:
                    log.samples[event.get("file", "")] = event
            log.summary.damaged = log.reader.damaged
        return log


def forget_log(run: RunFolder) -> None:
    """Forgets what was read of a run that is gone."""
    with _lock:
        _logs.pop(run.events_path, None)


def read_samples(run: RunFolder) -> list[Event]:
    """Returns the events of a run's samples, the last one of each file."""
    try:
        return list(_read_log(run.events_path).samples.values())
    except OSError:
        return []


def describe_run(view: RunView) -> str:
    """Returns a line about what the run is doing."""
    if view.state == "running":
        parts = [text.phase(view.phase)]
        if view.steps:
            parts.append(text.step_of(view.step, view.steps))
        if view.seconds_left is not None:
            parts.append(text.time_left(format_duration(view.seconds_left)))
        return " · ".join(parts)
    state = text.STATES[view.state]
    if view.state in {"paused", "stopped", "failed", "lost"} and view.steps:
        return f"{state} · {text.step_of(view.step, view.steps)}"
    return state


def describe_pending(view: RunView) -> str:
    """Returns a sentence about what was requested and is not done yet."""
    if not view.busy:
        return ""
    # A pause that has come stays requested until it ends.
    waiting = view.pending - ({"pause"} if view.state == "paused" else set())
    return " ".join(text.PENDING[what] for what in sorted(waiting) if what in text.PENDING)


def title_of(view: RunView | None) -> str:
    """Returns the page's title, with the progress of a run that is being worked on."""
    if view is None or not view.busy:
        return text.APP_NAME
    return f"{view.percent} % – {view.name} – {text.APP_NAME}"


def format_duration(seconds: float) -> str:
    """Returns a length of time in plain words."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def read_log_tail(path: Path, lines: int = 25) -> str:
    """Returns the last lines of a log; "" when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            data = file.read()
    except FileNotFoundError:
        return ""
    # A progress bar rewrites its line with carriage returns; only its last state counts.
    whole = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    states = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in whole]
    return "\n".join(states[-lines:]).strip("\n")


def format_date(view: RunView) -> str:
    """Returns when the run was created."""
    try:
        moment = datetime.fromtimestamp(view.created or float("nan")).astimezone()
    except (ValueError, OverflowError, OSError):
        return view.id[:10]
    return moment.strftime("%Y-%m-%d %H:%M")
