"""What state a run is in: it follows from its last life-cycle event and its owner's life."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_tools.files import explain_os_error
from trainer.runs.events import Event, EventReader
from trainer.runs.ownership import is_owned

State = Literal[
    "new", "queued", "running", "paused", "stopped", "finished", "failed", "lost", "damaged"
]

_LIFE_CYCLE = {"queued", "started", "paused", "resumed", "ended"}
_STARTING_SECONDS = 60.0
_DAMAGED = (
    "Its events.jsonl is damaged: lines that cannot be read are left out of what is shown. Its "
    "training is not affected, and it can be resumed; check the disk."
)


@dataclass(frozen=True)
class RunStatus:
    """What a person wants to know at a glance."""

    state: State
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    message: str = ""
    phase: str = ""

    @property
    def live(self) -> bool:
        """Whether a process works on the run, so that requests to it are heard."""
        return self.state in {"running", "paused"}

    @property
    def can_start(self) -> bool:
        """Whether `lorasmith train RUN` starts or resumes it."""
        return self.state in {"queued", "stopped", "failed", "lost", "damaged"}


NEW = RunStatus("new")


@dataclass
class EventSummary:
    """What the events of a run come to; it takes the memory of a few of them.

    Attributes:
        name: Of the run.
        first_time: When it was queued, in seconds since 1970.
        last_time: The latest moment of an event.
        samples: How many samples were reported.
        damaged: How many lines could not be read.
    """

    name: str = ""
    first_time: float = 0.0
    last_time: float = 0.0
    samples: int = 0
    damaged: int = 0
    _last: Event | None = None
    _cycle: Event | None = None
    _started: Event | None = None
    _step: Event | None = None
    _reached: int = 0

    def add(self, event: Event) -> None:
        """Takes one more event into account."""
        kind, moment = event["event"], float(event.get("time", 0))
        self.first_time = self.first_time if self._last else moment
        self.last_time = max(self.last_time, moment)
        self._last = event
        if kind in _LIFE_CYCLE:
            self._cycle = event
        if kind == "queued":
            self.name = self.name or str(event.get("name", ""))
        elif kind == "started":
            self._started = event
        elif kind == "step":
            self._step = event
        if kind == "sample":
            self.samples += 1
        elif "step" in event:
            self._reached = event["step"]

    def derive(self, *, alive: bool) -> RunStatus:
        """Returns the status that follows from the events and from the owner being alive."""
        if self._cycle is None or self._last is None:
            return RunStatus("damaged", message=_explain(self.damaged)) if self.damaged else NEW
        state, message = _derive_state(self._cycle, alive=alive)
        step, started = self._step or {}, self._started or {}
        return RunStatus(
            state=state,
            step=self._reached,
            steps=int(step.get("steps") or started.get("steps", 0)),
            loss=step.get("loss"),
            seconds_left=step.get("seconds_left") if state == "running" else None,
            message=" ".join(filter(None, (message, _explain(self.damaged)))),
            phase=_name_phase(self._last) if state == "running" else "",
        )


def _explain(damaged: int) -> str:
    # Without a number: of steps in a row only the last is read.
    return _DAMAGED if damaged else ""


def read_status(run: Path) -> RunStatus:
    """Returns the status of the run in a folder; one that cannot be read is damaged."""
    summary, reader = EventSummary(), EventReader(run / "events.jsonl")
    try:
        for event in reader.read_some(last_steps=True):
            summary.add(event)
    except OSError as error:
        return explain_unreadable(run, error)
    summary.damaged = reader.damaged
    return summary.derive(alive=is_owned(run))


def explain_unreadable(run: Path, error: OSError) -> RunStatus:
    """Returns the status of a run whose events the system does not let us read."""
    reason = explain_os_error(error)
    return RunStatus("damaged", message=f"{run / 'events.jsonl'} cannot be read: {reason}")


def derive_status(events: list[Event], *, alive: bool) -> RunStatus:
    """Returns the status that follows from a run's events and from its owner being alive."""
    summary = EventSummary()
    for event in events:
        summary.add(event)
    return summary.derive(alive=alive)


def _derive_state(last: Event, *, alive: bool) -> tuple[State, str]:
    kind = last["event"]
    if kind == "ended":
        reason = last.get("reason", "failed")
        known: dict[str, State] = {"finished": "finished", "stopped": "stopped"}
        return known.get(reason, "failed"), str(last.get("message", ""))
    if kind == "queued":
        # The process takes a few seconds to come up; it counts as running once it owns the folder.
        return ("running" if alive else "queued"), ""
    if alive:
        return ("paused" if kind == "paused" else "running"), ""
    age = time.time() - float(last.get("time", 0))
    return "lost", (
        "The training process ended without a word"
        + (" soon after it started" if age < _STARTING_SECONDS else "")
        + ". Its log may show why; starting the run again continues from its last checkpoint."
    )


def _name_phase(last: Event) -> str:
    kind = last["event"]
    if kind == "cache":
        done, total = last.get("done", 0), last.get("total", 0)
        return f"preparing {last.get('what', 'images')} {done} of {total}"
    names = {
        "queued": "starting",
        "started": "loading the model",
        "data": "preparing images",
        "sample": "making samples",
        "exported": "checking the file",
        "embedding": "checking the file",
    }
    return names.get(kind, "learning")
