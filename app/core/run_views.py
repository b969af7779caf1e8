"""Runs: their events and states, and what may be chosen on the page."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from app.core import text
from app.core.base_models import list_predictions
from app.core.examples import look
from app.core.jobs import find_starter, is_starting
from app.core.workspace import Workspace
from trainer.runs import (
    EventReader,
    RunFolder,
    derive_status,
    is_owned,
    list_runs,
    read_requests,
)
from trainer.runs.events import Event
from trainer.runs.status import State

ShownState = State | Literal["starting"]

_LOG_BYTES = 64 * 1024
_MAX_LOGS = 64
_STARTABLE = {"queued", "stopped", "failed", "lost"}


@dataclass
class _EventLog:
    reader: EventReader
    identity: tuple[int, int]
    events: list[Event] = field(default_factory=list)


_logs: OrderedDict[Path, _EventLog] = OrderedDict()
_lock = threading.Lock()


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


def read_event_log(run: RunFolder) -> list[Event]:
    """Returns all events of a run.

    What stays between calls is only a copy of the file's beginning: when the file was replaced
    or became shorter, it is read anew.
    """
    path = run.events_path
    try:
        facts = path.stat()
    except FileNotFoundError:
        return []
    identity = (facts.st_dev, facts.st_ino)
    with _lock:
        log = _logs.get(path)
        if log is None or log.identity != identity or facts.st_size < log.reader.offset:
            log = _EventLog(EventReader(path), identity)
            _logs[path] = log
        log.events.extend(log.reader.read_new())
        _logs.move_to_end(path)
        while len(_logs) > _MAX_LOGS:
            _logs.popitem(last=False)
        return list(log.events)


def view_run(run: RunFolder) -> RunView:
    """Returns the run's state by its files."""
    events = read_event_log(run)
    status = derive_status(events, alive=is_owned(run.path))
    state: ShownState = status.state
    message = status.message
    if status.can_start:
        starter = find_starter(run.path)
        last = max((float(event.get("time", 0)) for event in events), default=0.0)
        if starter is not None and is_starting(run.path) and starter.started > last - 1:
            state, message = "starting", ""
        elif status.state == "queued" and starter is not None:
            state, message = "failed", text.DIED_BEFORE_START
    names = [event.get("name") for event in events if event["event"] == "queued"]
    return RunView(
        id=run.id,
        name=str(names[0]) if names and names[0] else run.id,
        state=state,
        step=status.step,
        steps=status.steps,
        loss=status.loss,
        seconds_left=status.seconds_left,
        phase=status.phase,
        message=message,
        pending=frozenset(read_requests(run.path)),
    )


def list_run_views(workspace: Workspace) -> list[RunView]:
    """Returns all runs, newest first."""
    runs = workspace.runs_path
    return look(runs, lambda: [view_run(run) for run in list_runs(runs)])


def find_busy_run(workspace: Workspace) -> RunView | None:
    """Returns the run that is being worked on."""
    return next((view for view in list_run_views(workspace) if view.busy), None)


def choose_run(views: list[RunView], chosen: object = None) -> RunView | None:
    """Returns the chosen run, else the one that is being worked on, else the newest."""
    for view in views:
        if view.id == chosen:
            return view
    return next((view for view in views if view.busy), views[0] if views else None)


def describe_run(view: RunView) -> str:
    """Returns a line about what the run is doing."""
    if view.state == "running":
        parts = [text.phase(view.phase)]
        if view.steps:
            parts.append(text.step_of(view.step, view.steps))
        if view.seconds_left is not None:
            parts.append(text.time_left(_format_duration(view.seconds_left)))
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


def _format_duration(seconds: float) -> str:
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


def format_date(run_id: str, events: list[dict[str, Any]]) -> str:
    """Returns when the run was created."""
    if not events:
        return run_id[:10]
    moment = datetime.fromtimestamp(float(events[0].get("time", 0))).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M")


def list_choices(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Returns, by the name of a choice, its labels with values, and the value to begin with."""
    datasets = workspace.list_datasets()
    models = list(workspace.list_base_models())
    views = list_run_views(workspace)
    shown = choose_run(views)
    return {
        "dataset": _make_list([(name, name) for name in datasets]),
        "base_model": {
            **_make_list([(name, name) for name in models]),
            "answers": list_predictions(workspace),
        },
        "run": {
            "choices": [(f"{one.name} · {one.id}", one.id) for one in views],
            "first": shown.id if shown else None,
        },
    }


def _make_list(choices: list[tuple[str, str]]) -> dict[str, Any]:
    return {"choices": choices, "first": choices[0][1] if choices else None}
