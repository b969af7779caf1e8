"""The upper half of the Train tab: base model, preset, settings, and questions about them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core import run_contents as view
from app.models.page import BaseModelWidgets, draw_base_model, wire_base_model
from app.train import memory_text
from app.train import text as words
from app.train.events import EXPOSURE, NAME, START_FROM, TrainEvents
from app.train.rates import RATE_SETTINGS
from app.train.settings_events import SettingsEvents
from app.ui import headers_text as header_text
from app.ui.adoption import ADOPT_NAME
from app.ui.context import Shell
from app.ui.form import Form, build_widget
from app.ui.markup import element
from app.ui.paint import QUIET
from app.ui.relay import carry, show_when
from app.ui.scripts import FILTER_SETTINGS, PRESS

HEADER = "output.header"
_ON_THE_SURFACE = (NAME, "train.steps")


@dataclass(frozen=True)
class Settings:
    """What is drawn of the settings; `widgets` are the form's, in its order."""

    base_model: BaseModelWidgets
    preset: gr.Dropdown
    preset_note: gr.HTML
    dataset_note: gr.HTML
    start_box: gr.Column
    start_from: gr.HTML
    start_anew: gr.Button
    exposure: gr.HTML
    rates: gr.HTML
    accordion: gr.Accordion
    search: gr.Textbox
    widgets: dict[str, Any]
    ask_header: gr.Button
    header: gr.HTML
    ask_memory: gr.Button
    memory: gr.HTML
    memory_note: gr.HTML
    header_job: gr.Textbox
    memory_job: gr.Textbox
    named: gr.Textbox


def draw_settings(shell: Shell, form: Form) -> Settings:
    """Draws the settings: three on the surface, the others behind lids."""
    presets = view.describe_presets()
    chosen = view.suggest_preset(next(iter(shell.workspace.list_base_models()), ""), presets)
    config = view.read_preset_config(chosen)
    values = form.to_values(config)
    fields = {field.path: field for field in form.fields}
    with gr.Row():
        shell.base_model.render()
        choices = [(words.DEFAULTS, ""), *((name, name) for name in presets)]
        preset = gr.Dropdown(
            choices=[*choices, (words.OPENED, view.OPENED)],
            value=chosen,
            label=words.PRESET,
            info=words.PRESET_INFO,
            elem_id="train-preset",
            min_width=260,
        )
        widgets = {path: build_widget(fields[path], values[path]) for path in _ON_THE_SURFACE}
    base_model = draw_base_model(shell)
    dataset_note = gr.HTML("", elem_id="train-dataset")
    preset_note = gr.HTML("", elem_id="train-preset-note")
    with gr.Column(visible=False) as start_box:
        start_from = gr.HTML("", elem_id="train-start-from")
        start_anew = gr.Button(
            words.START_ANEW, size="sm", scale=0, min_width=160, elem_id="train-start-anew"
        )
    with gr.Accordion(header_text.TITLE, open=False, elem_id="train-header", render=False) as lid:
        gr.HTML(element("p", header_text.INFO, class_="quiet"))
        with gr.Row(elem_classes="with-button"):
            widgets[HEADER] = build_widget(fields[HEADER], values[HEADER])
            ask_header = gr.Button(
                header_text.ASK, scale=0, min_width=160, elem_id="train-header-ask"
            )
        header = gr.HTML("", elem_id="train-header-table")
    accordion, search = _draw_form(form, values, widgets)
    lid.render()
    exposure = gr.HTML("", elem_id="train-exposure")
    rates = gr.HTML("", elem_id="train-rates")
    ask_memory = gr.Button(
        memory_text.ASK, size="sm", scale=0, min_width=160, elem_id="train-memory-ask"
    )
    memory = gr.HTML("", js_on_load=PRESS, elem_id="train-memory")
    memory_note = gr.HTML("", elem_id="train-memory-note")
    header_job = carry(shell, "train-header-job")
    memory_job = carry(shell, "train-memory-job")
    named = carry(shell, "train-named")
    ordered = {path: widgets[path] for path in form.paths}
    return Settings(
        base_model, preset, preset_note, dataset_note, start_box, start_from, start_anew, exposure,
        rates, accordion, search, ordered, ask_header, header, ask_memory, memory, memory_note,
        header_job, memory_job, named,
    )  # fmt: skip


def _draw_form(
    form: Form, values: dict[str, Any], widgets: dict[str, Any]
) -> tuple[gr.Accordion, gr.Textbox]:
    """Draws the settings that are not drawn yet, section after section."""
    with gr.Accordion(words.ALL_SETTINGS, open=False, elem_id="train-settings") as accordion:
        search = gr.Textbox(
            label=words.SEARCH_LABEL,
            placeholder=words.SEARCH_EXAMPLE,
            max_lines=1,
            elem_id="train-search",
        )
        for section, title in words.SECTIONS.items():
            inside = [f for f in form.fields if f.section == section and f.path not in widgets]
            if not inside:
                continue
            with gr.Column(elem_classes="setting-section", elem_id=f"section-{section}"):
                gr.HTML(element("h3", title))
                with gr.Row():
                    for field in inside:
                        widgets[field.path] = build_widget(field, values[field.path])
    return accordion, search


def wire_settings(shell: Shell, form: Form, page: Settings, events: TrainEvents) -> None:
    """Wires the settings to preset, dataset and base model, and the questions about them."""
    widgets = page.widgets
    page.preset.change(
        events.fill_from_preset, [page.preset], [page.preset_note, *widgets.values()], **QUIET
    )
    # The widgets are drawn with the preset's values: a late answer must not undo what was typed.
    shell.demo.load(events.describe_preset, [page.preset], [page.preset_note], **QUIET)
    wire_base_model(shell, page.base_model, page.preset, widgets)
    show_when(
        shell,
        "train-dataset",
        [shell.dataset.change, shell.datasets_watch.tick],
        events.describe_dataset,
        [shell.dataset, widgets[NAME]],
        [page.dataset_note, page.named],
    )
    name = [widgets[NAME]]
    page.named.change(fn=None, inputs=[page.named, *name], outputs=name, js=ADOPT_NAME)
    counted = [widgets[path] for path in EXPOSURE]
    show_when(
        shell,
        "train-exposure",
        [
            shell.dataset.change,
            shell.datasets_watch.tick,
            *(one.change for one in counted),
        ],
        events.describe_exposure,
        [shell.dataset, *counted],
        [page.exposure],
    )
    rated = [widgets[path] for path in RATE_SETTINGS]
    show_when(
        shell,
        "train-rates",
        [shell.demo.load, *(one.change for one in rated)],
        events.draw_rates,
        rated,
        [page.rates],
    )
    show_when(
        shell,
        "train-start-from",
        [shell.demo.load, widgets[START_FROM].change],
        events.describe_start,
        [widgets[START_FROM]],
        [page.start_from, page.start_box],
    )
    page.start_anew.click(lambda: "", None, [widgets[START_FROM]], **QUIET)
    # Not `input`: that one is told the value before the last key.
    page.search.change(fn=None, inputs=[page.search], js=FILTER_SETTINGS)
    _wire_questions(shell, page, SettingsEvents(shell.workspace, form))


def _wire_questions(shell: Shell, page: Settings, events: SettingsEvents) -> None:
    ordered = list(page.widgets.values())
    seen = gr.State({})
    answers = show_when(
        shell,
        "train-answers",
        [shell.questions_watch.tick],
        events.show_answers,
        [seen, page.memory_job, page.header_job],
        [seen, page.memory, page.header],
    )
    everything = [seen, shell.dataset, shell.base_model, *ordered]
    memory = [seen, page.memory_job, page.memory]
    page.ask_memory.click(events.ask_memory, everything, [*memory, page.memory_note], **QUIET).then(
        **answers
    )
    page.memory.select(
        events.apply_change, [page.memory_job], [page.memory_note, *ordered], **QUIET
    ).then(events.ask_memory_again, everything, memory, **QUIET).then(**answers)
    page.ask_header.click(
        events.ask_header, everything, [seen, page.header_job, page.header], **QUIET
    ).then(**answers)
    shell.wish.change(
        events.obey,
        [shell.wish],
        [page.preset_note, page.preset, shell.dataset, shell.base_model, *ordered],
        **QUIET,
    )
