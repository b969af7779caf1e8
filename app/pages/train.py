"""The Train tab: settings, the buttons of a run, and its chart and samples while it learns."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.events.train import EXPOSURE, NAME, TrainEvents, make_frame
from app.form import Form, build_widget, make_form
from app.markup import element
from app.paint import QUIET, WATCHED
from app.scripts import ENLARGE_IN_GRID, FILTER_SETTINGS, remember_in_address
from app.shell import Shell, place
from app.text import train as words
from app.views import train as view

# These are asked for elsewhere on the page, or come from the dataset.
_ELSEWHERE = ("base_model.path", "dataset.path", "dataset.trigger")
_ON_THE_SURFACE = (NAME, "train.steps")
_COLOURS = {words.RAW: "#93c5fd", words.SMOOTHED: "#1d4ed8"}


@dataclass(frozen=True)
class _Settings:
    preset: gr.Dropdown
    preset_note: gr.HTML
    dataset_note: gr.HTML
    exposure: gr.HTML
    accordion: gr.Accordion
    search: gr.Textbox
    widgets: dict[str, Any]


@dataclass(frozen=True)
class _Progress:
    problems: gr.HTML
    note: gr.HTML
    buttons: dict[str, gr.Button]
    progress: gr.HTML
    failure: gr.HTML
    chart: gr.LinePlot
    samples: gr.HTML


def train_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    form = make_form(without=_ELSEWHERE)
    settings = _draw_settings(shell, form)
    progress = _draw_progress(shell)
    events = TrainEvents(shell.workspace, form)
    _wire_settings(shell, settings, events)
    _wire_buttons(shell, form, settings, progress, events)
    _wire_watches(shell, progress, events)


def _draw_settings(shell: Shell, form: Form) -> _Settings:
    presets = view.describe_presets()
    models = shell.workspace.list_base_models()
    chosen = view.suggest_preset(next(iter(models), ""), presets)
    config = view.read_preset_config(chosen)
    values = dict(zip(form.paths, form.to_values(config), strict=True))
    fields = {field.path: field for field in form.fields}
    widgets: dict[str, Any] = {}
    with gr.Row():
        place(shell.base_model)
        choices = [(words.DEFAULTS, ""), *((name, name) for name in presets)]
        preset = gr.Dropdown(
            choices=choices,
            value=chosen,
            label=words.PRESET,
            info=words.PRESET_INFO,
            elem_id="train-preset",
            min_width=260,
        )
        for path in _ON_THE_SURFACE:
            widgets[path] = build_widget(fields[path], values[path])
    dataset_note = gr.HTML("", elem_id="train-dataset")
    preset_note = gr.HTML("", elem_id="train-preset-note")
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
    exposure = gr.HTML("", elem_id="train-exposure")
    ordered = {path: widgets[path] for path in form.paths}
    return _Settings(preset, preset_note, dataset_note, exposure, accordion, search, ordered)


def _draw_progress(shell: Shell) -> _Progress:
    problems = gr.HTML("", elem_id="train-problems")
    with gr.Row():
        start = gr.Button(
            words.START, variant="primary", elem_id="train-start", scale=0, min_width=180
        )
        names = ("pause", "resume", "stop", "sample", "save")
        labels = (words.PAUSE, words.RESUME, words.STOP, words.SAMPLE, words.SAVE)
        buttons = {
            name: gr.Button(
                label,
                elem_id=f"train-{name}",
                interactive=False,
                variant="stop" if name == "stop" else "secondary",
                scale=0,
                min_width=140,
            )
            for name, label in zip(names, labels, strict=True)
        }
    told = gr.HTML("", elem_id="train-note")
    place(shell.run)
    progress = gr.HTML("", elem_id="train-progress")
    failure = gr.HTML("", elem_id="train-failure")
    with gr.Row():
        chart = gr.LinePlot(
            make_frame([]),
            x="step",
            y="loss",
            color="series",
            color_map=_COLOURS,
            label=words.CHART_LABEL,
            colors_in_legend=[],  # its legend would be cut off; the label says it
            height=320,
            buttons=["fullscreen"],
            elem_id="train-chart",
            min_width=320,
        )
        with gr.Column(min_width=320):
            samples = gr.HTML("", js_on_load=ENLARGE_IN_GRID, elem_id="train-samples")
    return _Progress(problems, told, {"start": start} | buttons, progress, failure, chart, samples)


def _wire_settings(shell: Shell, settings: _Settings, events: TrainEvents) -> None:
    widgets = settings.widgets
    gr.on(
        [shell.demo.load, settings.preset.change],
        events.fill_from_preset,
        [settings.preset],
        [settings.preset_note, *widgets.values()],
        **QUIET,
    )
    shell.base_model.change(
        events.suggest_preset, [shell.base_model, settings.preset], [settings.preset], **QUIET
    )
    gr.on(
        [shell.demo.load, shell.dataset.change],
        events.describe_dataset,
        [shell.dataset],
        [settings.dataset_note, widgets[NAME]],
        **QUIET,
    )
    counted = [widgets[path] for path in EXPOSURE]
    gr.on(
        [shell.demo.load, shell.dataset.change, *(one.change for one in counted)],
        events.describe_exposure,
        [shell.dataset, *counted],
        [settings.exposure],
        trigger_mode="always_last",
        **QUIET,
    )
    # Not `input`: that one is told the value before the last key.
    settings.search.change(fn=None, inputs=[settings.search], js=FILTER_SETTINGS)


def _wire_buttons(
    shell: Shell, form: Form, settings: _Settings, progress: _Progress, events: TrainEvents
) -> None:
    ordered = [settings.widgets[path] for path in form.paths]
    progress.buttons["start"].click(
        events.start,
        [shell.dataset, shell.base_model, *ordered],
        [progress.note, progress.problems, shell.run, settings.accordion, *ordered],
        **QUIET,
    )
    for name, event in (
        ("pause", events.pause),
        ("resume", events.resume),
        ("stop", events.stop),
        ("sample", events.sample),
        ("save", events.save),
    ):
        progress.buttons[name].click(event, [shell.run], [progress.note], **QUIET)
    shell.run.change(fn=None, inputs=[shell.run], js=remember_in_address("run"))


def _wire_watches(shell: Shell, progress: _Progress, events: TrainEvents) -> None:
    seen_status, seen_pictures = gr.State({}), gr.State({})
    buttons = [progress.buttons[name] for name in ("pause", "resume", "stop", "sample", "save")]
    gr.on(
        [shell.runs_watch.tick, shell.run.change],
        events.show_status,
        [seen_status, shell.run],
        [seen_status, shell.run, progress.progress, progress.failure, *buttons],
        **WATCHED,
    )
    gr.on(
        [shell.pictures_watch.tick, shell.run.change],
        events.show_pictures,
        [seen_pictures, shell.run],
        [seen_pictures, progress.chart, progress.samples],
        **WATCHED,
    )
