"""What the workbench shows of the workspace: as HTML, and as data for its script."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.combine import text
from app.combine.drafts import suggest_name
from app.combine.recipes import (
    FILES,
    Recipe,
    describe_task,
    list_first_values,
    list_sources,
    make_page_values,
    parse_recipe,
)
from app.combine.workbench import (
    Workbench,
    WorkbenchView,
    measure_work,
    read_answer,
    stamp_workbench,
    view_workbench,
)
from app.core.jobs import Job
from app.core.run_lists import find_busy_run
from app.core.run_views import read_log_tail
from app.core.text import show_bytes, show_share
from app.core.workspace import Workspace
from app.ui.components import make_button, make_findings, make_images, make_status
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from app.ui.text import SEVERITIES

_WORST = 5
_NOTHING = 1e-6  # rounding
_LOG_LINES = 200

Answer = Mapping[str, Any]


def render_data(workspace: Workspace, _params: Params) -> str:
    """Returns the lists, what was last tried, and what each task shows, for the page's script."""
    shown = view_workbench(workspace)
    tried = shown.tried
    data = {
        "files": [(one.label, one.id) for one in list_sources(workspace)],
        "models": list(workspace.list_base_models()),
        "tasks": {task: describe_task(task) for task in FILES},
        "methods": text.METHODS_INFO,
        "none": text.NO_FILE,
        "fresh": list_first_values(),
        "last": None,
        "weighted": shown.has_weight,
    }
    if tried is not None:
        images = tried.images
        data["last"] = {
            **make_page_values(tried.recipe),
            "prompt": images.prompt,
            "seed": images.seed,
            "strength": images.weight,
        }
        data |= {"suggestion": suggest_name(workspace, tried.recipe), "saved": tried.saved}
    return json.dumps(data, ensure_ascii=False)


def _view(workspace: Workspace, params: Params) -> WorkbenchView:
    return view_workbench(workspace, parse_recipe(params.get("recipe", "")))


def _render_report(workspace: Workspace, params: Params) -> Markup:
    """Returns how far the draft is and what came of it."""
    shown = _view(workspace, params)
    tried = shown.tried
    if tried is None:
        return element("p", text.HINT, class_="quiet", data_state="none")
    parts = [note(text.OLD, "warning") if shown.old else "", _make_state(shown, tried)]
    answer, report = read_answer(shown.job), _REPORTS.get(tried.recipe.task)
    if answer and report:
        names = {one.id: one.name for one in list_sources(workspace)}
        parts += report(
            answer, tried.recipe, [names.get(one, one) for one, _ in tried.recipe.files]
        )
    findings = _read_findings(shown.job)
    if findings:
        parts += [element("h4", text.FINDINGS), make_findings(findings)]
    state = "built" if tried.makes_model else shown.job.state
    return element("div", *parts, data_state=state, data_old=shown.old)


def _render_saved(workspace: Workspace, params: Params) -> Markup:
    """Returns what came of saving."""
    shown = _view(workspace, params)
    tried = shown.tried
    if tried is None or not tried.saved:
        return Markup("")
    if shown.is_saved:
        return note(text.saved(tried.saved, model=tried.makes_model), "good")
    return _make_job(shown.job)


def _render_images(workspace: Workspace, params: Params) -> Markup:
    """Returns the images without and with what was tried, or why there are none (yet)."""
    shown = _view(workspace, params)
    tried = shown.tried
    if tried is None:
        return Markup("")
    if tried.problem:
        return note(tried.problem, "error")
    if tried.request and shown.generation is None:
        return note(text.IMAGES_GONE)
    names = {str(shown.draft.resolve()): text.DRAFT} if shown.draft else {}
    training = find_busy_run(workspace) is not None
    status = make_status(shown.generation, training=training)
    return join(status, make_images(shown.generation, names))


def _make_state(shown: WorkbenchView, tried: Workbench) -> Markup:
    if tried.makes_model:
        return note(text.BAKE_HINT)
    if tried.saved:
        return Markup("")
    if shown.draft is not None:
        return note(text.made(show_bytes(shown.draft.stat().st_size)), "good")
    if shown.job.state in {"none", "done"}:
        return note(text.DRAFT_GONE, "warning")
    return _make_job(shown.job)


def _make_job(job: Job) -> Markup:
    """Returns how long a command has been working, or why it failed."""
    if job.state == "running":
        seconds, written = measure_work(job.path)
        return note(text.working(seconds, show_bytes(written) if written else ""))
    if job.was_stopped:
        return note(text.STOPPED)
    return note(text.refused(job.message), "error")


def _make_table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = element("tr", *(element("th", column, scope="col") for column in columns))
    lines = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    body = element("table", head, *lines, class_="plain")
    return join(element("h4", heading), element("div", body, class_="scroll"))


def _report_merge(answer: Answer, recipe: Recipe, names: Sequence[str]) -> list[Markup]:
    lines = [text.distance(answer["lost"], recipe.settings.get("method"))]
    if answer["sign_conflicts"] >= 0:
        lines.insert(0, text.conflicts(answer["sign_conflicts"]))
    if answer["cut"] > _NOTHING:
        lines.append(text.cut(answer["cut"]))
    pairs = [
        (" + ".join(names[number] for number in pair["files"]), pair["cosine"])
        for pair in answer["cosines"]
    ]
    rows = [(files, f"{cosine:+.3f}", text.meaning(cosine)) for files, cosine in pairs]
    worst = sorted(answer["layers"], key=lambda layer: float(layer["lost"]), reverse=True)[:_WORST]
    layers = [
        (
            str(layer["layer"]),
            ", ".join(f"{cosine:+.3f}" for cosine in layer["cosines"]) or text.NO_FILE,
            show_share(layer["sign_conflicts"]) if layer["sign_conflicts"] >= 0 else text.NO_FILE,
            show_share(layer["lost"], 1),
        )
        for layer in worst
    ]
    parts = [*map(note, lines), _make_table(text.PAIRS, text.PAIR_COLUMNS, rows)]
    if answer["lost"] > _NOTHING:
        parts.append(_make_table(text.WORST_MERGED, text.WORST_MERGED_COLUMNS, layers))
    return parts


def _report_ranks(answer: Answer, _recipe: Recipe, _names: Sequence[str]) -> list[Markup]:
    layers = answer["layers"]
    mean = sum(layer["energy"] for layer in layers) / len(layers)
    lines = [text.remaining_energy(len(layers), [layer["rank"] for layer in layers], mean)]
    if answer.get("equal"):
        lines.append(text.equal_layers(answer["equal"]))
    if answer.get("left_out"):
        lines.append(text.left_out(answer["left_out"]))
    worst = sorted(layers, key=lambda layer: float(layer["energy"]))[:_WORST]
    rows = [
        (str(each["layer"]), str(each["before"]), str(each["rank"]), show_share(each["energy"], 1))
        for each in worst
    ]
    return [*map(note, lines), _make_table(text.WORST_LAYERS, text.WORST_LAYERS_COLUMNS, rows)]


def _report_scaled(answer: Answer, _recipe: Recipe, _names: Sequence[str]) -> list[Markup]:
    factors = list(answer["factors"].values())
    changed = sum(factor != 1 for factor in factors)
    line = text.scaled(changed, factors.count(0), len(factors))
    rows = [(f"{one:g}", str(factors.count(one))) for one in sorted(set(factors))]
    return [note(line), _make_table(text.SCALED, text.SCALED_COLUMNS, rows)]


def _report_built(answer: Answer, _recipe: Recipe, _names: Sequence[str]) -> list[Markup]:
    return [note(text.rounded(answer["rounded"]))] if answer.get("rounded") else []


_REPORTS: dict[str, Callable[[Answer, Recipe, Sequence[str]], list[Markup]]] = {
    "merge": _report_merge,
    "resize": _report_ranks,
    "extract": _report_ranks,
    "scale": _report_scaled,
    "bake": _report_built,
    "subtract": _report_built,
}


def _read_findings(job: Job) -> list[tuple[str, str]]:
    """Returns the command's findings, before it writes, about who will not load the file."""
    if job.state == "none":
        return []
    findings = []
    for line in read_log_tail(job.path / "log.txt", _LOG_LINES).splitlines():
        severity, colon, message = line.partition(": ")
        if colon and severity in SEVERITIES:
            findings.append((severity, message))
    return findings


def _render_stop(workspace: Workspace, params: Params) -> Markup:
    if not _view(workspace, params).is_working:
        return Markup("")
    return make_button(text.STOP, key="stop", element_id="workbench-stop", class_="button")


def _render_again(workspace: Workspace, params: Params) -> Markup:
    if not _view(workspace, params).can_generate:
        return Markup("")
    return make_button(text.AGAIN, key="again", element_id="workbench-again", class_="button")


def _render_save(workspace: Workspace, params: Params) -> Markup:
    return make_save_button(allowed=_view(workspace, params).can_save)


def make_save_button(*, allowed: bool) -> Markup:
    """Returns the button that saves the draft; it cannot be pressed where there is none."""
    return make_button(
        text.SAVE, key="save", element_id="workbench-save", class_="button button-primary",
        disabled=not allowed,
    )  # fmt: skip


def _read_version(workspace: Workspace, params: Params) -> object:
    training = find_busy_run(workspace) is not None
    return stamp_workbench(workspace), params.get("recipe"), training


def _read_data_version(workspace: Workspace, _params: Params) -> object:
    content, jobs, *_ = stamp_workbench(workspace)
    files = [one.id for one in list_sources(workspace)]
    return content, jobs, files, list(workspace.list_base_models())


VIEWS = {
    "workbench": View(render_data, _read_data_version),
    "workbench-report": View(_render_report, _read_version),
    "workbench-stop": View(_render_stop, _read_version),
    "workbench-images": View(_render_images, _read_version),
    "workbench-again": View(_render_again, _read_version),
    "workbench-save": View(_render_save, _read_version),
    "workbench-saved": View(_render_saved, _read_version),
}
