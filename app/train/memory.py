"""How much memory the settings take: the result of an estimate, and its HTML."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.jobs import Job, read_job
from app.core.text import show_bytes
from app.core.workspace import Workspace
from app.train.settings import CONFIG_FILE
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from trainer.config import ConfigError, read_config

ESTIMATE = "estimate"
ASK = "Will it fit?"
_LOOKING = "Working out the memory for these settings. This takes some seconds…"
_HEADING = "Memory that these settings take"
_PHASE = "Phase"
_NEEDS = "Needs"
_CHANGES = "What would make it fit"
_CHANGES_INFO = "Each line builds on those above it."
_APPLY = "Use this"
_APPLY_ALL = "Use all up to here"
_ALLOWANCE = "Driver, libraries and gaps"
_TOTAL = "What must be free"
_NOTHING_HELPS = (
    "No setting that is known here makes it fit. Choose a smaller base model or another device."
)


@dataclass(frozen=True)
class MemoryChange:
    """A step towards fitting, on top of the steps before it.

    Attributes:
        settings: What this step sets, by path.
        all_settings: What it and those before it set.
        cost: What it costs, in a sentence.
        needed_bytes: What must be free with all of them.
    """

    settings: Mapping[str, Any]
    all_settings: Mapping[str, Any]
    cost: str
    needed_bytes: int


@dataclass(frozen=True)
class MemoryView:
    """Memory that a run would take, phase by phase, and what the device has.

    Attributes:
        phases: Name and bytes, in the order of a run.
        needed_bytes: What must be free: the peak, and what driver and libraries take besides.
        device: Its kind and number format.
        free_bytes: What is free there; 0 where that is not known.
        fits: Whether it fits, as far as is known, with its plan if need be.
        plan: What a run will set by itself at its start, where that makes it fit.
        changes: What would make it fit, each on top of those before it.
    """

    phases: tuple[tuple[str, int], ...]
    needed_bytes: int
    device: str
    free_bytes: int
    fits: bool
    plan: MemoryChange | None
    changes: tuple[MemoryChange, ...]

    @property
    def allowance_bytes(self) -> int:
        """What driver and libraries take besides the peak."""
        return self.needed_bytes - max((size for _, size in self.phases), default=0)


def view_memory(job: Job) -> MemoryView | None:
    """Returns the result of an estimate; None before it is there."""
    answer = job.answer
    if job.state != "done" or not isinstance(answer, dict):
        return None
    return MemoryView(
        phases=tuple((str(one["name"]), int(one["peak_bytes"])) for one in answer["phases"]),
        needed_bytes=int(answer["needed_bytes"]),
        device=str(answer["device"]),
        free_bytes=int(answer["free_bytes"]),
        fits=bool(answer["fits"]),
        plan=_read_plan(answer.get("plan")),
        changes=tuple(_list_changes(answer["suggestions"])),
    )


def describe_settings(job: Job) -> str:
    """Returns for which settings an estimate was made: those that memory depends on most."""
    try:
        config = read_config(job.path / CONFIG_FILE)
    except ConfigError:
        return ""
    shown = {
        "train.batch_size": config.train.batch_size,
        "dataset.resolution": config.dataset.resolution,
        "train.gradient_checkpointing": config.train.gradient_checkpointing,
        "adapter.rank": config.adapter.rank,
        "adapter.text_rank": config.adapter.text_rank,
    }
    return f"Worked out for {_show_settings(shown)}."


def _read_plan(plan: dict[str, Any] | None) -> MemoryChange | None:
    if plan is None:
        return None
    settings, cost = dict(plan["settings"]), " ".join(plan["costs"])
    return MemoryChange(settings, settings, cost, int(plan["needed_bytes"]))


def _list_changes(suggestions: list[dict[str, Any]]) -> Iterator[MemoryChange]:
    settings: dict[str, Any] = {}
    for one in suggestions:
        settings |= one["settings"]
        cost, needed = str(one["cost"]), int(one["needed_bytes"])
        yield MemoryChange(dict(one["settings"]), dict(settings), cost, needed)


def make_memory(job: Job) -> Markup:
    """Returns the estimate with a button for each change, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return element("p", _LOOKING, class_="note note-info", role="status", data_state="running")
    memory = view_memory(job)
    if memory is None:
        message = note(f"The memory could not be worked out: {job.message}", "error")
        return element("div", message, data_state="failed")
    state = "fits" if memory.fits else "too-large"
    return element(
        "section",
        element("h3", _HEADING),
        _make_verdict(memory),
        element("p", describe_settings(job), class_="quiet"),
        _make_phases(memory),
        _make_changes(memory),
        aria_label=_HEADING,
        data_state=state,
    )


def _make_verdict(memory: MemoryView) -> Markup:
    needed, free = show_bytes(memory.needed_bytes), show_bytes(memory.free_bytes)
    if not memory.free_bytes:
        unknown = "How much memory is free on the device is not known."
        return note(f"It needs {needed} at most. {unknown}")
    if memory.plan:
        planned = show_bytes(memory.plan.needed_bytes)
        return note(
            f"It fits with what a run sets at its start: {_show_settings(memory.plan.settings)}. "
            f"Then it needs {planned} instead of {needed}, and {free} are free on "
            f"{memory.device}. {memory.plan.cost}",
            "good",
        )
    verdict, kind = ("It fits", "good") if memory.fits else ("It does not fit", "warning")
    return note(f"{verdict}: {needed} at most, {free} free on {memory.device}.", kind)


def _make_phases(memory: MemoryView) -> Markup:
    head = element(
        "tr",
        element("th", _PHASE, scope="col"),
        element("th", _NEEDS, scope="col"),
        element("th", ""),
    )
    scale = max(memory.free_bytes, memory.needed_bytes, 1)
    rows = [
        element(
            "tr",
            element("th", _begin(name), scope="row"),
            element("td", show_bytes(size)),
            element("td", _make_bar(size, scale, over=0 < memory.free_bytes < size)),
        )
        for name, size in [
            *memory.phases,
            (_ALLOWANCE, memory.allowance_bytes),
            (_TOTAL, memory.needed_bytes),
        ]
    ]
    return element("table", head, *rows, class_="plain memory")


def _make_bar(size: int, scale: int, *, over: bool) -> Markup:
    style = f"width:{min(100, round(100 * size / scale))}%"
    fill = element("div", "", class_="fill over" if over else "fill", style=style)
    return element("div", fill, class_="track", aria_hidden="true")


def _make_changes(memory: MemoryView) -> Markup:
    if memory.fits:
        return Markup("")
    lines = [
        _make_change(number, change, memory.free_bytes)
        for number, change in enumerate(memory.changes)
    ]
    enough = bool(memory.changes) and memory.changes[-1].needed_bytes <= memory.free_bytes
    return join(
        element("h4", _CHANGES) if lines else "",
        element("p", _CHANGES_INFO, class_="quiet") if len(lines) > 1 else "",
        element("ol", *lines, class_="changes"),
        "" if enough else note(_NOTHING_HELPS, "warning"),
    )


def _make_change(number: int, change: MemoryChange, free: int) -> Markup:
    fits = ", which fits" if change.needed_bytes <= free else ""
    line = f"{_show_settings(change.settings)}: {show_bytes(change.needed_bytes)}{fits}."
    label = _APPLY if number == 0 else _APPLY_ALL
    button = element(
        "button",
        label,
        type="button",
        class_="press",
        data_key=str(number),
        # The browser puts these into the form.
        data_settings=json.dumps(dict(change.all_settings)),
        data_message=note(f"Set: {_show_settings(change.all_settings)}.", "good"),
        aria_label=f"{label}: {line}",
    )
    return element("li", button, element("span", line, " ", element("i", change.cost)))


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]


def _show_settings(settings: Mapping[str, object]) -> str:
    """Settings as one would type them."""
    return ", ".join(f"{path} = {_show(value)}" for path, value in settings.items())


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _render_memory(workspace: Workspace, params: Params) -> Markup:
    job = read_job(workspace, params.get("job"))
    return make_memory(job) if job.id.startswith(f"{ESTIMATE}-") else Markup("")


VIEWS = {"memory": View(_render_memory)}
