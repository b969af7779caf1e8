"""Suggested captions: which captioners there are, starting one, and how far it is; and the tags."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.examples import SUGGESTING, list_examples, name_suggesting
from app.core.jobs import Job, list_jobs, send_job, stop_job
from app.core.text import show_bytes
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import text
from datasets_tools.bounded_json import read_table
from datasets_tools.captioners.extras import require_package
from datasets_tools.captioners.places import is_available
from datasets_tools.captioners.table import CAPTIONERS
from datasets_tools.edits import count_tags
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.rewriting import find_last_rewriting

REQUEST_FILE = "question.json"


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
    """The progress of a captioner in a dataset.

    Attributes:
        state: "none" where it was not started.
        line: The sentence about it.
        kind: Of the sentence: info, good, warning or error.
        percent: How far it is.
        notes: More sentences, for example about images without a caption.
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
        uncaptioned: How many have no caption.
        tags: Every tag with the number of captions that have it, the most frequent first.
        undo: The last change of many captions; "" where there is none.
        problem: Why the last change cannot be undone.
    """

    images: int = 0
    uncaptioned: int = 0
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


def list_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Returns what the list of captioners shows: titles with names."""
    return [(one.title, one.name) for one in list_captioners(workspace)]


def find_captioner(workspace: Workspace, name: object) -> CaptionerView | None:
    """Returns the captioner of that name; None where none such can be chosen."""
    return next((one for one in list_captioners(workspace) if one.name == name), None)


def view_captioner(workspace: Workspace, name: str) -> CaptionerView:
    """Returns what there is to know of a captioner of the table."""
    captioner = CAPTIONERS[name]
    download, place, problem = "", text.HERE, ""
    if not is_available(name, workspace.root):
        download = show_bytes(captioner.size_bytes)
        place = text.downloaded_first(captioner.model, download, captioner.licence)
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
    used = [str(_read_request(one).get("captioner")) for one in jobs]
    here = [name for name in offered if is_available(name, workspace.root)]
    candidates = [name for name in (*used, *here, *offered) if name in offered]
    return candidates[0] if candidates else ""


def start_suggesting(
    workspace: Workspace, dataset: object, captioner: object, existing: object
) -> Job:
    """Has captions suggested for a dataset; where that goes on already, nothing is started.

    Args:
        workspace: Where the dataset lies.
        dataset: Its name.
        captioner: One that `list_captioners` lists.
        existing: What happens to captions that are there: "keep", "append" or "replace".

    Raises:
        WorkspaceError: a choice is none, the captioner cannot be used, there is nothing to caption,
            or the command cannot be started.
    """
    folder = workspace.find_dataset(dataset)
    chosen = find_captioner(workspace, captioner)
    if chosen is None:
        raise WorkspaceError(text.NOT_ON_OFFER)
    if existing not in text.EXISTING_CHOICES:
        raise WorkspaceError(text.NO_SUCH_CHOICE)
    if chosen.problem:
        raise WorkspaceError(chosen.problem)
    captions = view_captions(folder)
    if not captions.images:
        raise WorkspaceError(text.NO_IMAGES)
    if existing == "keep" and not captions.uncaptioned:
        raise WorkspaceError(text.ALL_CAPTIONED)
    arguments = [
        "caption", str(folder), f"--captioner={captioner}", f"--existing={existing}", "--download",
        "--json", f"--workspace={workspace.root}",
    ]  # fmt: skip

    def write_request(job_folder: Path) -> None:
        request = json.dumps({"captioner": captioner, "existing": existing})
        (job_folder / REQUEST_FILE).write_text(request, encoding="utf-8")

    job_id = name_suggesting(str(dataset))
    return send_job(workspace, job_id, arguments, write_request, again=True)


def stop_suggesting(workspace: Workspace, dataset: object) -> None:
    """Ends the captioner of a dataset; the captions that it has written stay."""
    stop_job(workspace, name_suggesting(str(dataset)))


def list_suggested(job: Job) -> frozenset[str]:
    """Returns the captions that a job has written."""
    return frozenset(str(event.get("caption")) for event in _find_outcomes(job, "written"))


def view_suggesting(job: Job) -> SuggestingView:
    """Returns how far a captioner is, in text."""
    written = sum(1 for _ in _find_outcomes(job, "written"))
    notes = tuple(_list_notes(job))
    if job.state == "running":
        line, percent = _describe_work(job)
        return SuggestingView("running", line, percent=percent)
    if job.state == "done":
        counts = [_count(job.answer, name) for name in ("written", "unsure", "kept", "failed")]
        kind = "warning" if counts[1] or counts[3] else "good"
        return SuggestingView("done", text.suggested(*counts), kind, 100, notes)
    if job.state == "failed" and job.was_stopped:
        return SuggestingView("stopped", text.suggesting_stopped(written), notes=notes)
    if job.state == "failed":
        message = text.suggesting_failed(job.message, written)
        return SuggestingView("failed", message, "error", notes=notes)
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
    uncaptioned = sum(not caption for caption in captions)
    return CaptionsView(len(captions), uncaptioned, tuple(count_tags(captions)), undo, problem)


def _describe_work(job: Job) -> tuple[str, int]:
    title = _find_title(job)
    for event in reversed(job.events):
        done, total = _count(event, "done"), _count(event, "total")
        percent = min(100, int(100 * done / total)) if total else 0
        if event.get("event") == "caption":
            return text.captioning(done, total, _show_image(event)), percent
        if event.get("event") == "load":
            return f"{text.LOADING} {title}…", 0
        if event.get("event") == "download" and total:
            size, whole = show_bytes(done), show_bytes(total)
            return text.downloading(title, size, whole, percent), percent
    return text.STARTING, 0


def _list_notes(job: Job) -> Iterator[str]:
    unsure = [_show_image(event) for event in _find_outcomes(job, "unsure")]
    if unsure:
        yield text.not_recognised(unsure)
    for event in _find_outcomes(job, "failed"):
        yield str(event.get("message") or _show_image(event))


def _show_image(event: dict[str, Any]) -> str:
    return show_name(Path(str(event.get("image"))))


def _find_outcomes(job: Job, outcome: str) -> Iterator[dict[str, Any]]:
    for event in job.events:
        if event.get("event") == "caption" and event.get("outcome") == outcome:
            yield event


def _find_title(job: Job) -> str:
    captioner = CAPTIONERS.get(str(_read_request(job).get("captioner")))
    return captioner.title if captioner else text.CAPTIONER.lower()


def _read_request(job: Job) -> dict[str, Any]:
    try:
        return read_table(job.path / REQUEST_FILE)
    except (OSError, ValueError):
        return {}


def _count(counts: Any, name: str) -> int:
    number = counts.get(name) if isinstance(counts, dict) else 0
    return number if isinstance(number, int) else 0
