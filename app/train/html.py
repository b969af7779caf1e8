"""The Train tab's pieces of HTML, the run bar, and the views of the tab's fragments."""

import contextlib
import json
from pathlib import Path
from urllib.parse import quote

from app.core.run_contents import Sample, SampleGrid, sample_url, view_losses, view_samples
from app.core.run_lists import choose_run, list_run_views
from app.core.run_views import RunView, describe_pending, describe_run, read_log_tail, title_of
from app.core.text import APP_NAME, STATES
from app.core.workspace import Workspace, WorkspaceError
from app.train import checks, finish_html, form_html, learned_html, memory, rates, settings, text
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, make_log
from trainer.config import ConfigError
from trainer.runs.evaluations import read_suggestion

_NEWEST = 4
_BAD = {"failed", "lost", "damaged"}


def make_run_bar(view: RunView | None) -> Markup:
    """Returns the line above the tabs; it carries the page's title."""
    if view is None:
        line = element("span", text.NO_RUN)
        return element("div", line, class_="bar", data_title=APP_NAME, data_state="none")
    parts = [
        element("span", "", class_=f"dot dot-{view.state}", aria_hidden="true"),
        element("b", view.name),
        element("span", describe_run(view)),
    ]
    if view.busy and view.steps:
        parts.append(element("span", f"{view.percent} %"))
    return element(
        "div",
        *parts,
        class_="bar",
        data_title=title_of(view),
        data_state=view.state,
        data_run=view.id,
        role="status",
    )


def make_progress(view: RunView | None) -> Markup:
    """Returns the progress of the run that is shown."""
    if view is None:
        return element("p", text.NO_RUN, class_="quiet", data_state="none")
    line = describe_run(view)
    fill = element("div", "", class_="fill", style=f"width:{view.percent}%")
    track = element(
        "div",
        fill,
        class_="track",
        role="progressbar",
        aria_label=view.name,
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=view.percent,
        aria_valuetext=line,
    )
    details = [f"{view.percent} %"]
    if view.loss is not None:
        details.append(text.loss_now(view.loss))
    pending = describe_pending(view)
    return element(
        "div",
        element("p", element("b", view.name), " · ", line, class_="run-line"),
        track,
        element("p", " · ".join(details), class_="quiet"),
        element("p", pending, class_="note note-info", role="status") if pending else "",
        data_state=view.state,
        data_run=view.id,
        data_step=str(view.step),
    )


def make_run_buttons(view: RunView | None) -> Markup:
    """Returns what can be asked of a run; what its state does not allow cannot be pressed."""
    state = view.state if view else "new"
    running = state == "running"
    allowed = {
        "pause": running,
        "resume": state == "paused" or bool(view and view.can_resume),
        "stop": state in {"starting", "running", "paused"},
        "sample": running,
        "save": running,
        "new": not (view and view.busy),
    }
    buttons = [
        make_button(
            text.RUN_BUTTONS[name],
            key=name,
            element_id=f"train-{name}" if name != "new" else "train-another",
            class_="button button-small button-stop" if name == "stop" else "button button-small",
        )
        for name, is_allowed in allowed.items()
        if is_allowed
    ]
    return element("div", *buttons, class_="buttons")


def make_failure(view: RunView | None, log: str) -> Markup:
    """Returns why a run ended badly, with the last lines of its log."""
    if view is None or view.state not in _BAD:
        return Markup("")
    message = view.message or STATES[view.state]
    return element(
        "div",
        element("p", message, class_="note note-error", role="alert"),
        make_log(log) if log else "",
    )


def make_suggestion(view: RunView, run: Path) -> Markup:
    """Returns what an evaluation of a finished run suggests, with its contact sheet."""
    chosen = read_suggestion(run) if view.state == "finished" else None
    if chosen is None or not chosen.sheet.is_file():
        return Markup("")
    version = chosen.sheet.stat().st_mtime_ns // 1_000_000
    source = f"media/suggestion/{quote(view.id, safe='')}?v={version}"
    line = text.suggestion(chosen.step, chosen.weight)
    image = element("img", src=source, alt=text.SUGGESTION_SHEET, loading="lazy")
    return element("details", element("summary", line), image, class_="suggestion")


def make_samples(run_id: str, grid: SampleGrid) -> Markup:
    """Returns the samples as a table: rows are steps, columns are prompts."""
    heading = element("h3", text.SAMPLES_HEADING)
    if not grid.rows:
        return join(heading, element("p", text.NO_SAMPLES, class_="quiet"))
    head = [element("th", ""), *(element("th", prompt, scope="col") for prompt in grid.prompts)]
    rows = [
        element(
            "tr",
            element("th", text.row_heading(step), scope="row"),
            *(_make_cell(run_id, cell, stop=not place) for place, cell in enumerate(cells, row)),
        )
        for row, (step, cells) in enumerate(grid.rows)
    ]
    table = element("table", element("tr", *head), *rows, class_="samples")
    hint = element("p", text.SAMPLES_HINT, class_="quiet")
    return join(heading, hint, element("div", table, class_="scroll"))


def _make_cell(run_id: str, sample: Sample | None, *, stop: bool) -> Markup:
    if sample is None:
        return element("td", "")
    return element("td", _make_sample(run_id, sample, stop=stop))


def _make_sample(run_id: str, sample: Sample, *, stop: bool) -> Markup:
    """Returns a sample that is enlarged by a press."""
    alt = text.sample_alt(sample.step, sample.prompt)
    image = element("img", src=sample_url(run_id, sample), alt=alt, loading="lazy")
    return element(
        "button",
        image,
        type="button",
        class_="cell",
        data_key=f"{sample.step}-{sample.index}",
        tabindex=0 if stop else -1,
    )


def _find_shown(workspace: Workspace, params: Params) -> RunView | None:
    """Returns the run that is shown: the chosen one, else the busy one, else the newest."""
    return choose_run(list_run_views(workspace), params.get("run"))


def _render_status(workspace: Workspace, params: Params) -> Markup:
    return make_run_bar(_find_shown(workspace, params))


def _render_prompts(workspace: Workspace, params: Params) -> str:
    """Returns the sample prompts of the shown run, as the page's script reads them."""
    prompts: list[str] = []
    if view := _find_shown(workspace, params):
        with contextlib.suppress(WorkspaceError, ConfigError):
            prompts = workspace.find_run(view.id).config.samples.prompts
    return json.dumps({"prompts": prompts}, ensure_ascii=False)


def _render_progress(workspace: Workspace, params: Params) -> Markup:
    view = _find_shown(workspace, params)
    if view is None:
        return join(make_progress(view))
    run = workspace.find_run(view.id)
    log = read_log_tail(run.log_path) if view.state in _BAD else ""
    return join(make_progress(view), make_suggestion(view, run.path), make_failure(view, log))


def _render_buttons(workspace: Workspace, params: Params) -> Markup:
    return make_run_buttons(_find_shown(workspace, params))


def _render_samples(workspace: Workspace, params: Params) -> Markup:
    view = _find_shown(workspace, params)
    grid = view_samples(workspace.find_run(view.id)) if view else SampleGrid((), ())
    return make_samples(view.id if view else "", grid)


def _read_samples_version(workspace: Workspace, params: Params) -> object:
    view = _find_shown(workspace, params)
    if view is None:
        return None
    return view.id, view.samples


def _render_newest(workspace: Workspace, params: Params) -> Markup:
    """Returns the newest samples, large; a prompt without a sample at that step is left out."""
    view = _find_shown(workspace, params)
    grid = view_samples(workspace.find_run(view.id)) if view else SampleGrid((), ())
    if view is None or not grid.rows:
        return Markup("")
    step, cells = grid.rows[-1]
    figures = [
        element(
            "figure",
            _make_sample(view.id, cell, stop=not place),
            element("figcaption", cell.prompt),
        )
        for place, cell in enumerate([cell for cell in cells if cell][:_NEWEST])
    ]
    heading = element("p", element("b", text.row_heading(step)), class_="run-line")
    return join(heading, element("div", *figures, class_="newest"))


def _render_losses(workspace: Workspace, params: Params) -> Markup:
    view = _find_shown(workspace, params)
    points = view_losses(workspace.find_run(view.id)) if view else []
    if not points:
        return Markup("")
    last = points[-1]
    return element("p", text.losses(last.step, last.loss, last.smoothed), class_="quiet")


def _read_losses_version(workspace: Workspace, params: Params) -> object:
    """Changes at most a hundred times in a run: each change has the chart plotted again."""
    view = _find_shown(workspace, params)
    return view and (view.id, view.busy, view.step and 100 * view.step // max(1, view.steps))


VIEWS = {
    "status": View(_render_status),
    "progress": View(_render_progress),
    "run-buttons": View(_render_buttons),
    "samples": View(_render_samples, _read_samples_version),
    "losses": View(_render_losses, _read_losses_version),
    "run-prompts": View(_render_prompts),
    "newest": View(_render_newest, _read_samples_version),
    **finish_html.VIEWS,
    **form_html.VIEWS,
    **learned_html.VIEWS,
    **settings.VIEWS,
    **memory.VIEWS,
    **rates.VIEWS,
    **checks.VIEWS,
}
