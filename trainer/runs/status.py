"""What state a run is in: it follows from its last life-cycle event and its owner's life."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.runs.events import Event, read_events
from trainer.runs.ownership import is_owned

State = Literal["new", "queued", "running", "paused", "stopped", "finished", "failed", "lost"]

_LIFE_CYCLE = {"queued", "started", "paused", "resumed", "ended"}
_STARTING_SECONDS = 60.0


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
        return self.state in {"queued", "stopped", "failed", "lost"}


def read_status(run: Path) -> RunStatus:
    """Returns the status of the run in a folder."""
    return derive_status(read_events(run / "events.jsonl"), alive=is_owned(run))


def derive_status(events: list[Event], *, alive: bool) -> RunStatus:
    """Returns the status that follows from a run's events and from its owner being alive."""
    cycle = [event for event in events if event["event"] in _LIFE_CYCLE]
    if not cycle:
        return RunStatus("new")
    state, message = _derive_state(cycle[-1], alive=alive)
    steps = [event for event in events if event["event"] == "step"]
    last = steps[-1] if steps else {}
    started = [event for event in cycle if event["event"] == "started"]
    reached = [event for event in events if "step" in event and event["event"] != "sample"]
    return RunStatus(
        state=state,
        step=int(reached[-1]["step"]) if reached else 0,
        steps=int(last.get("steps") or (started[-1].get("steps", 0) if started else 0)),
        loss=last.get("loss"),
        seconds_left=last.get("seconds_left") if state == "running" else None,
        message=message,
        phase=_name_phase(events[-1]) if state == "running" else "",
    )


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
