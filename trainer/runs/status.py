"""What state a run is in: it follows from its last life-cycle event and its owner's life."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_tools.files import explain_os_error
from trainer.runs.events import Event, EventReader
from trainer.runs.folder import Checkpoint, RunFolder
from trainer.runs.ownership import is_owned

State = Literal[
    "new", "queued", "running", "paused", "stopped", "finished", "failed", "lost", "damaged"
]

_LIFE_CYCLE = {"queued", "started", "paused", "resumed", "ended"}
_MOVES = {"step", "checkpoint", "paused", "resumed", "ended"}  # their step is where a run stands
_STARTING_SECONDS = 60.0
_DAMAGED = (
    "Its events.jsonl is damaged: lines that cannot be read are left out of what is shown. Its "
    "training is not affected, and it can be resumed; check the disk."
)


@dataclass(frozen=True)
class RunStatus:
    """What a person wants to know at a glance.

    Attributes:
        step: Where the process that was last started stands.
        saved: Step of the last checkpoint: where a run begins when it is started again.
    """

    state: State
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None
    message: str = ""
    phase: str = ""
    saved: int = 0

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
    _saved: int = 0

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
            # What the process before this one reached behind its checkpoint is trained again.
            self._started, self._step = event, None
            self._reached = self._saved = event.get("from_step", 0)
        elif kind == "diverged":
            self._step, self._reached = None, event.get("from_step", 0)
        elif kind == "step":
            self._step = event
        elif kind == "sample":
            self.samples += 1
        elif kind == "checkpoint":
            self._saved = event.get("step", 0)
        if kind in _MOVES and "step" in event:
            self._reached = event["step"]

    def derive(self, *, alive: bool, checkpoints: Sequence[Checkpoint] | None = None) -> RunStatus:
        """Returns the status that follows from the events and from the owner being alive.

        Args:
            alive: Whether a process owns the run.
            checkpoints: Those of the run, oldest first; None believes the events.
        """
        if self._cycle is None or self._last is None:
            return RunStatus("damaged", message=_explain(self.damaged)) if self.damaged else NEW
        state, message = _derive_state(self._cycle, alive=alive)
        step, started = self._step or {}, self._started or {}
        saved = self._saved
        if checkpoints is not None:
            saved = checkpoints[-1].step if checkpoints else 0
        if state in {"stopped", "failed", "lost"} and (self._reached > saved or state == "lost"):
            message = f"{message} {explain_resume(self._reached, saved)}"
        return RunStatus(
            state=state,
            saved=saved,
            step=self._reached,
            steps=int(step.get("steps") or started.get("steps", 0)),
            loss=step.get("loss"),
            seconds_left=step.get("seconds_left") if state == "running" else None,
            message=" ".join(filter(None, (message.strip(), _explain(self.damaged)))),
            phase=_name_phase(self._last) if state == "running" else "",
        )


def explain_resume(reached: int, saved: int) -> str:
    """Returns where a run begins when it is started again, and how many steps that repeats."""
    lost = reached - saved
    again = f"{lost} {'step is' if lost == 1 else 'steps are'} trained again"
    if saved:
        end = f": {again}" if lost > 0 else ""
        return f"Starting it again continues from its checkpoint at step {saved}{end}."
    begins = "There is no checkpoint, so starting it again begins at step 0"
    return f"{begins}: {again}." if lost > 0 else f"{begins}."


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
    alive = is_owned(run)
    return summary.derive(
        alive=alive, checkpoints=None if alive else RunFolder(run).list_checkpoints()
    )


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
        "The training process ended unexpectedly"
        + (" soon after it started" if age < _STARTING_SECONDS else "")
        + ". Its log may show why."
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
