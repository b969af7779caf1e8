"""Noticing what has changed in the folders, at almost no cost while nothing does.

The page asks a small route of ours for a *mark*, a few letters that change when something does, and
raises an event only then. A `gr.Timer` would raise one every second, and each costs the browser a
tenth to a fifth of a second of a core: a page that stood idle took up to 86 % of a core from the
training beside it (docs/lab-log.md, 2026-11-22). Browsers slow the asking down in hidden tabs;
nothing depends on it but what is painted.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.core.examples import SUGGESTING
from app.core.generation import view_generation
from app.core.jobs import stamp_jobs
from app.core.lora_files import INSPECT, PACKS
from app.core.run_views import list_run_views
from app.core.workspace import Workspace

_ASK = """
const look = async () => {
  try {
    const answer = await fetch('changes/NAME', {cache: 'no-store'});
    const mark = answer.ok ? await answer.text() : known;
    if (mark !== known) { known = mark; trigger('tick', {}); }
  } catch (error) { /* the server is away; the next look may find it */ }
  setTimeout(look, MILLISECONDS);
};
let known = null;
look();
"""


def make_watch(name: str, seconds: float) -> gr.HTML:
    """Returns a part of the page without a face; its `tick` comes when the mark has changed.

    The first one comes when the page has been built.
    """
    script = _ASK.replace("NAME", name).replace("MILLISECONDS", str(round(seconds * 1000)))
    return gr.HTML("", js_on_load=script, elem_id=f"watch-{name}", elem_classes="watch")


def make_routes(workspace: Workspace) -> list[Route]:
    """Returns the routes that tell the marks."""
    return [
        Route(f"/changes/{name}", _answer_with(workspace, look), methods=["GET"])
        for name, look in MARKS.items()
    ]


def mark_runs(workspace: Workspace) -> str:
    """Changes when a run's status line does, or its owner dies."""
    return repr(list_run_views(workspace))


def mark_drawing(workspace: Workspace) -> str:
    """Changes when the preview does, or the run that it waits for."""
    busy = [view.id for view in list_run_views(workspace) if view.busy]
    return repr((view_generation(workspace.preview), busy))


def mark_datasets(workspace: Workspace) -> str:
    """Changes when a dataset has a new image or caption, or a base model is added."""
    return repr((_stamp(workspace.datasets_path.glob("*/*")), workspace.list_base_models()))


def mark_exports(workspace: Workspace) -> str:
    """Changes when a run has another state, new samples or a new file, or one was dropped in."""
    states = [(view.id, view.state) for view in list_run_views(workspace)]
    made = [_stamp(workspace.runs_path.glob(f"*/{kind}")) for kind in ("*.safetensors", "samples")]
    made.append(_stamp(workspace.loras_path.glob("*.safetensors")))
    return repr((states, made))


def mark_pictures(workspace: Workspace) -> str:
    """Changes when a run has a new event, which is what the chart and the samples show."""
    return repr(_stamp(workspace.runs_path.glob("*/events.jsonl")))


def _mark_jobs(*kinds: str) -> Callable[[Workspace], str]:
    """Returns a mark that changes when a job of these kinds prints something or ends."""

    def mark(workspace: Workspace) -> str:
        return repr(stamp_jobs(workspace, kinds))

    return mark


# Fine-grained, because every event costs: while a run learns, only what shows it is painted.
MARKS: dict[str, Callable[[Workspace], str]] = {
    "runs": mark_runs,
    "drawing": mark_drawing,
    "datasets": mark_datasets,
    "exports": mark_exports,
    "pictures": mark_pictures,
    "models": _mark_jobs("model"),
    "downloads": _mark_jobs("download"),
    "questions": _mark_jobs("estimate", "header"),
    "files": _mark_jobs(INSPECT, *PACKS),
    "captions": _mark_jobs(SUGGESTING),
}


def _stamp(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    found = []
    for path in paths:
        try:
            facts = path.stat()
        except OSError:  # it was removed in the meantime, or is a broken link
            continue
        found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return sorted(found)


def _answer_with(
    workspace: Workspace, look: Callable[[Workspace], str]
) -> Callable[[Request], Response]:
    # A plain function: Starlette runs it in a thread, so a slow disk does not stop the others.
    def answer(_request: Request) -> Response:
        mark = hashlib.sha256(look(workspace).encode()).hexdigest()[:16]
        return PlainTextResponse(mark, headers={"cache-control": "no-store"})

    return answer
