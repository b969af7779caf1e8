"""The part of the Train tab around the base model: what it is, and how another one comes in."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gradio as gr

from app.models import text
from app.models.events import DOWNLOAD_VIEW, BaseModelEvents
from app.models.html import make_download_buttons
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.wire import wire, wire_in_browser

Widgets = dict[str, Any]


def build_base_model(context: PageContext) -> Callable[[Mapping[str, Any]], None]:
    """Builds card, question, and the two ways by which base models come in.

    Returns:
        What wires it, given the widgets that another base model changes: "preset", its "rows",
        "family" and "prediction".
    """
    widgets: Widgets = {
        "card": fragment("base-model", "base_model", elem_id="base-model-card"),
        "question": fragment("base-model-question", "base_model", elem_id="base-model-question"),
        "message": gr.HTML("", elem_id="base-model-unanswered"),
    }
    with gr.Accordion(text.OTHER_MODELS, open=False, elem_id="base-model-others"):
        with gr.Row(elem_classes="with-button", visible=context.workspace.takes_paths):
            widgets["path"] = gr.Textbox(
                label=text.PATH, info=text.PATH_INFO, placeholder=text.PATH_EXAMPLE,
                max_lines=1, min_width=240, elem_id="base-model-path",
            )  # fmt: skip
            widgets["add"] = gr.Button(text.ADD, scale=0, min_width=120, elem_id="base-model-add")
        widgets["added"] = gr.HTML("", elem_id="base-model-note")
        with gr.Row(elem_classes="with-button"):
            widgets["hub_id"] = gr.Textbox(
                label=text.HUB, info=text.HUB_INFO, placeholder=text.HUB_EXAMPLE,
                max_lines=1, min_width=240, elem_id="base-model-hub",
            )  # fmt: skip
            widgets["buttons"] = fragment(
                "base-model-download-buttons",
                elem_id="base-model-buttons",
                placeholder=make_download_buttons(running=False),
            )
        widgets["refusal"] = gr.HTML("", elem_id="base-model-refusal")
        widgets["progress"] = fragment(DOWNLOAD_VIEW, elem_id="base-model-progress")
    return partial(_wire, context, widgets)


def _wire(context: PageContext, widgets: Widgets, settings: Mapping[str, Any]) -> None:
    events = BaseModelEvents(context.workspace)
    chosen = {"base_model": context.base_model}
    path = {"path": widgets["path"]}
    wire_in_browser(
        context.base_model.change,
        "chooseBaseModel",
        {**chosen, **path, "preset": settings["preset"]},
        {**path, "family": settings["family"], "prediction": settings["prediction"]},
    )
    preset = {"preset": settings["preset"]}
    known = {**chosen, **preset, "rows": settings["rows"]}
    wire_in_browser(widgets["card"].tick, "suggestPreset", known, preset)
    wire(
        [context.base_model.change, widgets["card"].tick],
        events.look,
        chosen,
        {"message": widgets["message"]},
    )
    prediction = {"prediction": settings["prediction"]}
    wire_in_browser(widgets["card"].tick, "useMeasured", {**chosen, **prediction}, prediction)
    wire(
        widgets["card"].select,
        events.measure,
        {"dataset": context.dataset},
        {"message": widgets["message"]},
    )
    wire_in_browser(widgets["question"].select, "answerBaseModel", chosen, prediction)
    wire(widgets["question"].select, events.answer, outputs={"message": widgets["message"]})
    wire(
        [widgets["add"].click, widgets["path"].submit],
        events.add,
        path,
        {"message": widgets["added"], **chosen},
    )
    wire(
        [widgets["buttons"].select, widgets["hub_id"].submit],
        events.download,
        {"hub_id": widgets["hub_id"]},
        {"message": widgets["refusal"], "progress": widgets["progress"]},
    )
    wire_in_browser(widgets["progress"].tick, "chooseDownloaded", {}, chosen)
