"""The Train tab's pieces of HTML about memory."""

from app.core.jobs import Job
from app.core.text import show_bytes
from app.train import memory_text as words
from app.train.memory import MemoryChange, MemoryView, describe_settings, view_memory
from app.ui.markup import Markup, element, join, note


def make_memory(job: Job) -> Markup:
    """Returns the estimate with a button for each change, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return element(
            "p", words.LOOKING, class_="note note-info", role="status", data_state="running"
        )
    memory = view_memory(job)
    if memory is None:
        told = note(words.failed(job.message), "error")
        return element("div", told, data_state="failed")
    state = "fits" if memory.fits else "too-large"
    return element(
        "section",
        element("h3", words.HEADING),
        _make_verdict(memory),
        element("p", describe_settings(job), class_="quiet"),
        _make_phases(memory),
        _make_changes(memory),
        aria_label=words.HEADING,
        data_state=state,
    )


def _make_verdict(memory: MemoryView) -> Markup:
    if not memory.free_bytes:
        return note(words.needs(memory.needed_bytes))
    said = words.fits if memory.fits else words.too_large
    line = said(memory.needed_bytes, memory.free_bytes, memory.device)
    return note(line, "good" if memory.fits else "warning")


def _make_phases(memory: MemoryView) -> Markup:
    head = element(
        "tr",
        element("th", words.PHASE, scope="col"),
        element("th", words.NEEDS, scope="col"),
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
            (words.ALLOWANCE, memory.allowance_bytes),
            (words.TOTAL, memory.needed_bytes),
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
        element("h4", words.CHANGES) if lines else "",
        element("p", words.CHANGES_INFO, class_="quiet") if len(lines) > 1 else "",
        element("ol", *lines, class_="changes"),
        "" if enough else note(words.NOTHING_HELPS, "warning"),
    )


def _make_change(number: int, change: MemoryChange, free: int) -> Markup:
    line = words.change_line(change.settings, change.needed_bytes, free)
    button = element(
        "button",
        words.APPLY if number == 0 else words.APPLY_ALL,
        type="button",
        class_="press",
        data_key=str(number),
        aria_label=f"{words.APPLY if number == 0 else words.APPLY_ALL}: {line}",
    )
    return element("li", button, element("span", line, " ", element("i", change.cost)))


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]
