"""What the Train tab shows about base models, and the views of its fragments."""

import hashlib
import json

from app.core.base_models import BaseModelView, view_base_model
from app.core.jobs import Job, read_job
from app.core.run_contents import OPENED
from app.core.text import PREDICTION_QUESTION
from app.core.workspace import Workspace
from app.models import text
from app.models.events import (
    DOWNLOAD_VIEW,
    describe_download,
    find_download,
    find_downloaded,
    read_progress,
)
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, make_track, note
from trainer.config import fits_preset, guess_kind, list_presets, suggest_preset
from trainer.runs.starting import find_starter


def make_model_card(view: BaseModelView | None) -> Markup:
    """Returns what a base model is, or why it cannot be trained."""
    if view is None:
        return element("p", text.NONE_CHOSEN, class_="quiet", data_state="none")
    if view.state in {"unasked", "looking"}:
        line = text.LOOKING if view.state == "looking" else text.NOT_LOOKED_AT
        return element("p", line, class_="quiet", role="status", data_state=view.state)
    if view.state == "refused":
        message = note(text.refused(view.message), "error")
        return element("div", message, data_state="refused")
    pairs = [
        element("div", element("dt", name), element("dd", value)) for name, value in view.facts
    ]
    question = note(text.UNKNOWN_PREDICTION, "warning") if view.asks and not view.answered else ""
    notes = [note(line) for line in view.notes if line]
    facts = element("dl", *pairs, class_="facts facts-in-a-row")
    base = guess_kind(view.name, view.family, view.answered or view.prediction)
    fitting = [OPENED, *(name for name in list_presets() if fits_preset(name, base.kind))]
    suggestion = suggest_preset(base, memory_bytes=view.device_bytes)
    return element(
        "div",
        facts,
        question,
        *notes,
        element("p", text.suggested(suggestion), class_="quiet"),
        _make_measurement(view),
        data_state="known",
        data_family=view.family,
        data_name=view.name,
        data_fitting=json.dumps(fitting),
        data_kind=base.kind,
        data_suggested=suggestion.choice.name,
        data_measured=view.measured_prediction or None,
    )


def _make_measurement(view: BaseModelView) -> Markup:
    """Returns what was measured, with its evidence, and the button that measures."""
    job = view.measuring
    running = job.state == "running"
    label = text.CANCEL if running else text.MEASURE_AGAIN if view.measured else text.MEASURE
    button = make_button(
        label,
        key="cancel-measuring" if running else "measure",
        element_id="base-model-measure",
    )
    shown = note(view.measured, "good" if view.measured_prediction else "warning")
    if job.state == "done" and view.measured:
        shown = join(shown, _make_evidence(job.answer))
    elif running:
        done, total = read_progress(job)
        line = text.measuring(done, total)
        status = element("p", line, class_="quiet", role="status")
        shown = join(status, make_track(100 * done // total if total else 0, line))
    elif job.state == "failed":
        failed = note(text.not_measured(job.message), "info" if job.was_stopped else "error")
        shown = join(shown, failed)
    hint = "" if running or view.measured else element("p", text.MEASURE_INFO, class_="quiet")
    return element("section", shown, button, hint, aria_label=text.MEASUREMENT, data_job=job.state)


def _make_evidence(answer: object) -> Markup:
    """Returns the regressions and how far each kind is, in a part that is folded."""
    measured = answer.get("measured") if isinstance(answer, dict) else None
    if not measured:
        return Markup("")
    head = element("tr", *(element("th", each, scope="col") for each in text.EVIDENCE))
    rows = []
    for each in measured["evidence"]:
        ratio = "–" if each["ratio"] is None else f"{each['ratio']:.2f}"
        numbers = (f"{each['noise']:.2f}", f"{each['image']:.2f}", ratio)
        cells = [element("td", value) for value in (*numbers, f"{each['explained']:.0%}")]
        rows.append(element("tr", element("th", str(each["timestep"]), scope="row"), *cells))
    return element(
        "details",
        element("summary", text.margin(measured["margin"])),
        element("p", text.distances(measured["distances"])),
        element("table", head, *rows, class_="plain"),
        element("p", text.EVIDENCE_INFO, class_="quiet"),
    )


def make_question(view: BaseModelView | None) -> Markup:
    """Returns the question what a base model predicts, the likely answer first, if it is open."""
    if view is None or not view.asks:
        return Markup("")
    likely = [view.prediction] if view.prediction in text.ANSWERS else []
    ordered = [*likely, *(key for key in text.ANSWERS if key not in likely)]
    options = [
        element(
            "label",
            element(
                "input",
                type="radio",
                name="base-model-prediction",
                data_key=key,
                checked=key == view.answered,
            ),
            element("span", text.ANSWERS[key]),
        )
        for key in ordered
    ]
    # Another base model's question is another element, so that its buttons are not mixed up.
    name = f"question-{hashlib.sha256(view.name.encode()).hexdigest()[:8]}"
    legend = element("legend", PREDICTION_QUESTION)
    return element("fieldset", legend, *options, class_="options", id=name)


def make_download(job: Job, arrived: str = "") -> Markup:
    """Returns how far a download is; `arrived` is the name of what it brought."""
    line, kind, percent = describe_download(job)
    if not line:
        return Markup("")
    if job.state == "running":
        status = element("p", line, class_="quiet", role="status")
        return element("div", status, make_track(percent, line), data_state="running")
    starter = find_starter(job.path)
    return element(
        "div",
        note(line, kind),
        data_state=job.state,
        data_job=job.id,
        data_started=str(starter.started if starter else ""),
        data_name=arrived or None,
    )


def make_download_buttons(*, running: bool) -> Markup:
    """Returns the buttons that start a download and stop it."""
    buttons = [
        make_button(
            label, key=key, element_id=f"base-model-{key}", class_="button", disabled=disabled
        )
        for key, label, disabled in (
            ("download", text.DOWNLOAD, running),
            ("cancel", text.CANCEL, not running),
        )
    ]
    return element("div", *buttons, class_="buttons")


def _render_card(workspace: Workspace, params: Params) -> Markup:
    return make_model_card(view_base_model(workspace, params.get("base_model")))


def _render_question(workspace: Workspace, params: Params) -> Markup:
    return make_question(view_base_model(workspace, params.get("base_model")))


def _render_download(workspace: Workspace, params: Params) -> Markup:
    """Returns the download that this window has started, else the newest one."""
    own = params.get("job")
    job = read_job(workspace, own) if own else find_download(workspace)
    arrived = find_downloaded(workspace, job) if job.state == "done" else ""
    return make_download(job, arrived)


def _render_download_buttons(workspace: Workspace, _params: Params) -> Markup:
    return make_download_buttons(running=find_download(workspace).state == "running")


VIEWS = {
    "base-model": View(_render_card),
    "base-model-question": View(_render_question),
    DOWNLOAD_VIEW: View(_render_download),
    "base-model-download-buttons": View(_render_download_buttons),
}
