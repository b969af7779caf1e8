"""Suggested captions: which captioners there are, and how far one is; and the tags of a dataset."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.examples import list_examples
from app.core.jobs import Job, list_jobs, name_job, read_job
from app.core.text import show_bytes
from app.core.workspace import Workspace
from app.dataset import captions_text as words
from datasets_tools.captioners.extras import require_package
from datasets_tools.captioners.places import is_available
from datasets_tools.captioners.table import CAPTIONERS
from datasets_tools.edits import count_tags
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.rewriting import find_last_rewriting

SUGGESTING = "caption"
QUESTION_FILE = "question.json"


@dataclass(frozen=True)
class CaptionerView:
    """A captioner that can be chosen.

    Attributes:
        name: As the table and the command line call it.
        title: As the page calls it.
        about: What its captions are like, and where its model is.
        download: Size of what has to be fetched first; "" where the model is here.
        problem: Why it cannot be used, and what to do; "" where it can.
    """

    name: str
    title: str
    about: str
    download: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SuggestingView:
    """How far a captioner is with a dataset.

    Attributes:
        state: "none" where it was not asked.
        line: The sentence about it.
        kind: Of the sentence: info, good, warning or error.
        percent: How far it is.
        notes: What else there is to say, in sentences.
    """

    state: str = "none"
    line: str = ""
    kind: str = "info"
    percent: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionsView:
    """The captions of a dataset as a whole.

    Attributes:
        images: How many there are.
        bare: How many have no caption.
        tags: Every tag with the number of captions that have it, the most frequent first.
        undo: The last change of many captions; "" where there is none.
        problem: Why the last change cannot be taken back.
    """

    images: int = 0
    bare: int = 0
    tags: tuple[tuple[str, int], ...] = ()
    undo: str = ""
    problem: str = ""


def list_captioners(workspace: Workspace) -> list[CaptionerView]:
    """Returns the captioners whose models are here or can be fetched, in the table's order."""
    return [
        view_captioner(workspace, name)
        for name, captioner in CAPTIONERS.items()
        if captioner.model or is_available(name, workspace.root)
    ]


def view_captioner(workspace: Workspace, name: str) -> CaptionerView:
    """Returns what there is to know of a captioner of the table."""
    captioner = CAPTIONERS[name]
    download, place, problem = "", words.HERE, ""
    if not is_available(name, workspace.root):
        download = show_bytes(captioner.size_bytes)
        place = words.downloaded_first(captioner.model, download, captioner.licence)
    try:
        if captioner.package:
            require_package(captioner.package, name)
    except DatasetError as error:
        problem = str(error)
    about = f"{captioner.summary} {place}"
    return CaptionerView(name, captioner.title, about, download, problem)


def choose_captioner(workspace: Workspace) -> str:
    """Returns the captioner that was used last, else the first one whose model is here.

    The one that comes along knows the starter model's world only, so with another base model in the
    workspace it is the last choice.
    """
    offered = [one.name for one in list_captioners(workspace)]
    if set(workspace.list_base_models().values()) - set(workspace.base_models):
        offered = [name for name in offered if CAPTIONERS[name].model]
    jobs = list_jobs(workspace, SUGGESTING)
    asked = [str(_read_question(one).get("captioner")) for one in jobs]
    here = [name for name in offered if is_available(name, workspace.root)]
    known = [name for name in (*asked, *here, *offered) if name in offered]
    return known[0] if known else ""


def find_suggesting(workspace: Workspace, dataset: object) -> Job:
    """Returns the job that suggests captions for a dataset."""
    return read_job(workspace, name_suggesting(str(dataset)))


def name_suggesting(dataset: str) -> str:
    """Returns the id of that job: a dataset has one, so that two do not write one caption."""
    return name_job(SUGGESTING, dataset)


def list_suggested(job: Job) -> frozenset[str]:
    """Returns the captions that a job has written."""
    return frozenset(str(event.get("caption")) for event in _find_outcomes(job, "written"))


def view_suggesting(job: Job) -> SuggestingView:
    """Returns how far a captioner is, in words."""
    written = sum(1 for _ in _find_outcomes(job, "written"))
    notes = tuple(_list_notes(job))
    if job.state == "running":
        line, percent = _describe_work(job)
        return SuggestingView("running", line, percent=percent)
    if job.state == "done":
        counts = [_count(job.answer, name) for name in ("written", "unsure", "kept", "failed")]
        kind = "warning" if counts[1] or counts[3] else "good"
        return SuggestingView("done", words.suggested(*counts), kind, 100, notes)
    if job.state == "failed" and job.was_stopped:
        return SuggestingView("stopped", words.suggesting_stopped(written), notes=notes)
    if job.state == "failed":
        told = words.suggesting_failed(job.message, written)
        return SuggestingView("failed", told, "error", notes=notes)
    return SuggestingView()


def view_captions(folder: Path) -> CaptionsView:
    """Returns the captions of a dataset as a whole."""
    examples = list_examples(folder)
    captions = [example.caption for example in examples]
    undo = problem = ""
    try:
        undo = find_last_rewriting(folder) or ""
    except DatasetError as error:
        problem = str(error)
    bare = sum(not caption for caption in captions)
    return CaptionsView(len(captions), bare, tuple(count_tags(captions)), undo, problem)


def _describe_work(job: Job) -> tuple[str, int]:
    title = _find_title(job)
    for event in reversed(job.events):
        done, total = _count(event, "done"), _count(event, "total")
        percent = min(100, int(100 * done / total)) if total else 0
        if event.get("event") == "caption":
            return words.captioning(done, total, _show_image(event)), percent
        if event.get("event") == "load":
            return words.loading(title), 0
        if event.get("event") == "download" and total:
            size, whole = show_bytes(done), show_bytes(total)
            return words.downloading(title, size, whole, percent), percent
    return words.STARTING, 0


def _list_notes(job: Job) -> Iterator[str]:
    unsure = [_show_image(event) for event in _find_outcomes(job, "unsure")]
    if unsure:
        yield words.could_not_tell(unsure)
    for event in _find_outcomes(job, "failed"):
        yield str(event.get("message") or _show_image(event))


def _show_image(event: dict[str, Any]) -> str:
    return show_name(Path(str(event.get("image"))))


def _find_outcomes(job: Job, outcome: str) -> Iterator[dict[str, Any]]:
    for event in job.events:
        if event.get("event") == "caption" and event.get("outcome") == outcome:
            yield event


def _find_title(job: Job) -> str:
    captioner = CAPTIONERS.get(str(_read_question(job).get("captioner")))
    return captioner.title if captioner else words.CAPTIONER.lower()


def _read_question(job: Job) -> dict[str, Any]:
    try:
        told = json.loads((job.path / QUESTION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _count(told: Any, name: str) -> int:
    number = told.get(name) if isinstance(told, dict) else 0
    return number if isinstance(number, int) else 0
