"""The upper half of the Train tab: base model, preset, settings, and questions about them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.run_contents import OPENED
from app.train import text
from app.train.checks import CHECKED
from app.train.events import TrainEvents
from app.train.form_html import EXPOSURE, make_form_lines
from app.train.learned_html import LEARNED
from app.train.memory import ASK
from app.train.preset_rows import build_rows, describe_preset, list_preset_choices
from app.train.rates import RATE_SETTINGS
from app.train.settings import FORM, NAME, START_FROM
from app.ui import text as ui_text
from app.ui.context import PageContext
from app.ui.form import build_widget
from app.ui.fragments import fragment
from app.ui.markup import element
from app.ui.wire import wire, wire_in_browser
from trainer.config import guess_kind, layer_config, suggest_preset

HEADER_SETTING = "output.header"
_ON_THE_SURFACE = (NAME, "train.steps")
_LEFT = 380  # pixels
# Builds what there is around the base model, and returns what wires it (`app/models`).
BuildBaseModel = Callable[[PageContext], Callable[[Mapping[str, Any]], None]]


@dataclass(frozen=True)
class Settings:
    """The components of the settings; `widgets` are the form's, by the settings' paths."""

    preset: gr.Dropdown
    rows: dict[str, gr.Dropdown]
    note: gr.HTML
    start: gr.HTML
    accordion: gr.Accordion
    widgets: dict[str, Any]
    ask_header: gr.Button
    header: gr.HTML
    ask_memory: gr.Button
    memory: gr.HTML
    memory_message: gr.HTML
    go: gr.Button
    add: gr.Button
    problems: gr.HTML
    refusal: gr.HTML


def build_settings(context: PageContext, build_base_model: BuildBaseModel) -> Settings:
    """Builds the settings, those that matter first, and what they mean; wires both."""
    first = guess_kind(next(iter(context.workspace.list_base_models()), ""))
    choice = suggest_preset(first).choice
    values = FORM.to_values(layer_config(preset=choice.name))
    widgets: dict[str, Any] = {}
    with gr.Column(scale=0, min_width=_LEFT, elem_classes="left"):
        rows = build_rows(choice, ("goal",))
        context.base_model.render()
        preset = gr.Dropdown(
            choices=[*list_preset_choices(), (text.OPENED, OPENED)], value=choice.name,
            label=text.PRESET, elem_id="train-preset",
        )  # fmt: skip
        with gr.Row():
            _build_some(_ON_THE_SURFACE, values, widgets)
        fragment("run-name", "run_name", "dataset", elem_id="train-run-name", polled=False)
        with gr.Row():
            rows |= build_rows(choice, ("kind", "memory", "care"))
        accordion = _build_accordion()
        with gr.Column(elem_id="train-actions"):
            problems = gr.HTML("", elem_id="train-problems")
            refusal = gr.HTML("", elem_id="train-refusal")
            with gr.Row():
                go = gr.Button(text.START, variant="primary", elem_id="train-start")
                add = gr.Button(text.ADD_TO_QUEUE, min_width=110, elem_id="train-queue")
                ask_memory = gr.Button(ASK, min_width=110, elem_id="train-memory-ask")
    with gr.Column(min_width=320, elem_classes="right"):
        fragment("train-dataset", "dataset", elem_id="train-dataset")
        gr.HTML(make_form_lines(), elem_id="train-form-note")
        preset_note = gr.HTML(describe_preset(choice.name), elem_id="train-preset-note")
        start = fragment("start-from", "start_from", elem_id="train-start-box")
        fragment("checks", "dataset", "base_model", "checks", elem_id="train-checks")
        fragment("exposure", "dataset", "exposure", elem_id="train-exposure")
        memory = fragment("memory", elem_id="train-memory")
        memory_message = gr.HTML("", elem_id="train-memory-note")
        fragment("learned", "dataset", "learned", elem_id="train-learned")
        wire_base_model = build_base_model(context)
        ask_header, header = _build_header(values, widgets)
        with gr.Accordion(text.RATES, open=False, elem_id="train-rates-lid"):
            fragment("rates", "rates", elem_id="train-rates", polled=False)
    _fill_accordion(accordion, values, widgets)
    page = Settings(
        preset, rows, preset_note, start, accordion, {path: widgets[path] for path in FORM.paths},
        ask_header, header, ask_memory, memory, memory_message, go, add, problems,
        refusal,
    )  # fmt: skip
    family, prediction = widgets["base_model.family"], widgets["base_model.prediction"]
    wire_base_model({"preset": preset, "rows": rows, "family": family, "prediction": prediction})
    _wire_form(context, page)
    _wire_questions(context, page)
    return page


def _build_some(paths: Iterable[str], values: dict[str, Any], widgets: dict[str, Any]) -> None:
    fields = {field.path: field for field in FORM.fields}
    for path in paths:
        widgets[path] = build_widget(fields[path], values[path])


def _build_header(values: dict[str, Any], widgets: dict[str, Any]) -> tuple[gr.Button, gr.HTML]:
    """Builds what there is about the header of the file."""
    with gr.Accordion(ui_text.HEADER_TITLE, open=False, elem_id="train-header"):
        gr.HTML(element("p", ui_text.HEADER_INFO, class_="quiet"))
        with gr.Row(elem_classes="with-button"):
            _build_some((HEADER_SETTING,), values, widgets)
            ask = gr.Button(ui_text.HEADER_ASK, scale=0, min_width=160, elem_id="train-header-ask")
        return ask, fragment("header", elem_id="train-header-table")


def _build_accordion() -> gr.Accordion:
    return gr.Accordion(text.ALL_SETTINGS, open=False, elem_id="train-settings")


def _fill_accordion(
    accordion: gr.Accordion, values: dict[str, Any], widgets: dict[str, Any]
) -> None:
    """Builds the settings that are not built yet, section after section."""
    with accordion:
        gr.Textbox(  # what is typed in it is looked for in the browser (`filterSettings`)
            label=text.SEARCH_LABEL, placeholder=text.SEARCH_EXAMPLE, max_lines=1,
            elem_id="train-search",
        )  # fmt: skip
        for section, title in text.SECTIONS.items():
            inside = [f for f in FORM.fields if f.section == section and f.path not in widgets]
            if not inside:
                continue
            with gr.Column(elem_classes="setting-section", elem_id=f"section-{section}"):
                gr.HTML(element("h3", title))
                with gr.Row():
                    for field in inside:
                        widgets[field.path] = build_widget(field, values[field.path])


def _wire_form(context: PageContext, page: Settings) -> None:
    """Wires what fills the form, and what depends on its values."""
    events, widgets = TrainEvents(context.workspace), page.widgets
    chosen = {"dataset": context.dataset, "base_model": context.base_model}
    filled = {"values": widgets, "preset": page.preset, "rows": page.rows, **chosen}
    composed = [row.input for row in page.rows.values()]
    wire_in_browser(composed, "choosePreset", {"rows": page.rows}, {"preset": page.preset})
    answered = wire_in_browser([page.preset.change, page.start.select], "askForm", filled)
    wire_in_browser(answered.then, "fillForm", filled, {**filled, "note": page.note})
    wire(page.start.select, events.save_prediction, outputs={"message": page.note})
    name = {"name": widgets[NAME]}
    wire_in_browser(context.dataset.change, "nameRun", {"dataset": context.dataset, **name}, name)
    entered = [widget.input for widget in (*widgets.values(), *page.rows.values(), page.preset)]
    wire_in_browser([context.demo.load, context.base_model.input, *entered], "keepForm", filled)
    changes = [
        widgets[path].change
        for path in dict.fromkeys((NAME, *EXPOSURE, *RATE_SETTINGS, *CHECKED, *LEARNED))
    ]
    shared = {
        "exposure": {path: widgets[path] for path in EXPOSURE},
        "rates": {path: widgets[path] for path in RATE_SETTINGS},
        "checks": {path: widgets[path] for path in CHECKED},
        "learned": {path: widgets[path] for path in LEARNED},
        "start_from": widgets[START_FROM],
    }
    wire_in_browser([context.demo.load, *changes], "shareSettings", {**name, **shared})


def _wire_questions(context: PageContext, page: Settings) -> None:
    events = TrainEvents(context.workspace)
    chosen = {"dataset": context.dataset, "base_model": context.base_model}
    config = {**chosen, "values": page.widgets}
    memory, message = {"answer": page.memory}, {"message": page.memory_message}
    wire(page.ask_memory.click, events.ask_memory, config, {**memory, **message})
    applied = wire_in_browser(
        page.memory.select, "applyMemoryChange", {}, {"values": page.widgets, **message}
    )
    wire(applied.then, events.ask_memory_again, config, memory)
    wire(page.ask_header.click, events.ask_header, config, {"answer": page.header})
