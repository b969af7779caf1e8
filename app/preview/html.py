"""What the Preview tab shows of the workspace: as HTML, and as data for its script."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.generation import SIDES, find_newest_images, preview_url, view_generation
from app.core.grid_jobs import DOWNLOADS, GridView, cell_url, grid_url, stamp_grid, view_grid
from app.core.lora_files import (
    MAX_ADAPTERS,
    AdapterEntry,
    find_adapter,
    list_adapters,
    read_adapter_config,
    suggest_prompt,
)
from app.core.run_lists import find_busy_run
from app.core.workspace import Workspace, WorkspaceError
from app.preview import text
from app.ui.components import (
    make_button,
    make_failure,
    make_images,
    make_intermediate,
    make_link,
    make_progress,
    make_status,
)
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from app.ui.text import WITH, WITHOUT

MAX_WEIGHT = 2.0
STOP_GRID = "stop-grid"  # the key of its button
# What the page holds before anybody has typed.
FRESH: dict[str, Any] = {"prompt": "", "seed": 1, "steps": 20, "guidance": 7, "negative": ""}


def render_data(workspace: Workspace, _params: Params) -> str:
    """Returns the adapters, and what was generated last, as the page's script reads them."""
    entries = list_adapters(workspace)
    data = {
        "adapters": [(one.label, one.id) for one in entries],
        "last": _view_last(workspace, entries),
        "fresh": FRESH,
    }
    return json.dumps(data, ensure_ascii=False)


def make_comparison(request_id: str) -> Markup:
    """Returns two images on each other with a divider to drag; a range input is the divider."""
    if not request_id:
        return Markup("")
    images = [
        element("img", src=preview_url(request_id, side), alt=alt, draggable="false")
        for side, alt in zip(SIDES, (WITHOUT, WITH), strict=True)
    ]
    divider = element(
        "input", type="range", min=0, max=100, step=1, value=50, aria_label=text.COMPARE
    )
    line = element("span", "", class_="compare-line", aria_hidden="true")
    button = element("button", text.FULLSCREEN, type="button", class_="compare-fullscreen button")
    return element(
        "div",
        element("p", text.COMPARE, class_="quiet"),
        element("div", *images, divider, line, class_="compare-images"),
        button,
        class_="compare",
        data_request=request_id,
    )


def _view_last(workspace: Workspace, entries: Sequence[AdapterEntry]) -> dict[str, Any] | None:
    """Returns what was generated last, in the page's values, without adapters that are gone."""
    generation = view_generation(workspace.preview)
    request = generation.request if generation else None
    if request is None:
        return None
    ids = {str(entry.path.resolve()): entry.id for entry in entries}
    return {
        "adapters": [
            (ids[one.path], min(MAX_WEIGHT, max(-MAX_WEIGHT, one.weight)))
            for one in request.adapters
            if one.path in ids
        ],
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": request.inference_steps,
        "guidance": request.guidance,
        "negative": request.negative_prompt,
    }


def _render_note(workspace: Workspace, params: Params) -> Markup:
    """Shows what belongs to the chosen adapters, and suggests the first one's prompt and numbers.

    The browser takes the suggestion where the prompt is empty (`applySuggestion`).
    """
    if not params.get("adapters"):
        return Markup("")  # the page has not chosen any yet
    chosen = _read_ids(params["adapters"]) or [None]
    lines: list[str] = []
    bases: set[str] = set()
    for adapter_id in chosen:
        try:
            entry = find_adapter(workspace, adapter_id)
        except WorkspaceError as error:
            return note(str(error))
        config = read_adapter_config(workspace, adapter_id)
        base = Path(config.base_model.path).name if config else ""
        trigger = config.dataset.trigger if config else ""
        lines.append(text.adapter_note(entry.name, base, trigger))
        bases |= {base} if base else set()
    message = note(" ".join(lines))
    if len(bases) > 1:
        message = join(message, note(text.SAME_FAMILY, "warning"))
    return element("div", message, data_suggestion=_suggest(workspace, chosen[0]))


def _suggest(workspace: Workspace, adapter_id: str | None) -> str | None:
    config = read_adapter_config(workspace, adapter_id)
    if config is None:
        return None
    suggestion = {
        "prompt": suggest_prompt(config),
        "steps": config.samples.inference_steps,
        "guidance": config.samples.guidance,
    }
    return json.dumps(suggestion, ensure_ascii=False) if suggestion["prompt"] else None


def _read_ids(value: str) -> list[str | None]:
    """Returns the ids that a page sent as JSON; none where it is something else."""
    try:
        ids = json.loads(value)
    except (ValueError, RecursionError):
        return []
    if not isinstance(ids, list):
        return []
    return [one for one in ids[:MAX_ADAPTERS] if isinstance(one, str)]


def _render_result(workspace: Workspace, _params: Params) -> Markup:
    """Shows how far the newest request is, its images, and the newest pair to compare."""
    generation = view_generation(workspace.preview)
    training = find_busy_run(workspace) is not None
    names = {str(entry.path.resolve()): entry.name for entry in list_adapters(workspace)}
    return join(
        element("div", make_status(generation, training=training), id="preview-status"),
        element("div", make_intermediate(generation), id="preview-intermediate"),
        element("div", make_images(generation, names), id="preview-pictures"),
        element("div", make_comparison(find_newest_images(workspace.preview)), id="preview-slider"),
    )


def _read_result_version(workspace: Workspace, _params: Params) -> object:
    training = find_busy_run(workspace) is not None
    return view_generation(workspace.preview), find_newest_images(workspace.preview), training


def _render_grid(workspace: Workspace, _params: Params) -> Markup:
    view = view_grid(workspace)
    return join(_make_grid_status(view), _make_table(view)) if view else Markup("")


def _make_grid_status(view: GridView) -> Markup:
    job = view.job
    if job.state == "running":
        stop = make_button(text.STOP, key=STOP_GRID, element_id="preview-grid-stop")
        return join(make_progress(text.grid_progress(view.done, view.total)), element("p", stop))
    if job.was_stopped:
        return make_failure(text.GRID_STOPPED, "info")
    if job.state == "failed":
        return make_failure(job.message)
    links = [
        make_link(label, grid_url(job.id, kind), f"grid.{kind}")
        for kind, label in text.GRID_DOWNLOAD.items()
        if kind in DOWNLOADS
    ]
    done = element("div", note(text.grid_done(len(view.cells)), "good"), data_state="done")
    return join(done, element("p", *links))


def _make_table(view: GridView) -> Markup:
    """Returns the images in rows and columns; the places of those that are to come are empty."""
    head = element("tr", element("th", ""), *(element("th", one, scope="col")
                                              for one in view.columns))  # fmt: skip
    rows = [head]
    width = len(view.columns)
    for place, row in enumerate(view.rows):
        cells = [
            element("td", _make_cell(view, key, f"{row}, {column}"))
            for key, column in zip(
                view.cells[place * width : (place + 1) * width], view.columns, strict=True
            )
        ]
        rows.append(element("tr", element("th", row, scope="row"), *cells))
    return element("table", element("tbody", *rows), class_="samples") if view.rows else Markup("")


def _make_cell(view: GridView, key: str, alt: str) -> Markup:
    if not key:
        return element("span", "", class_="skeleton", aria_hidden="true")
    image = element("img", src=cell_url(view.job.id, key), alt=alt, loading="lazy")
    return element("button", image, type="button", data_key=key, aria_label=alt)


def _read_grid_version(workspace: Workspace, _params: Params) -> object:
    return stamp_grid(workspace)


VIEWS = {
    "preview-grid": View(_render_grid, _read_grid_version),
    "preview": View(render_data),
    "preview-note": View(_render_note),
    "preview-result": View(_render_result, _read_result_version),
}
