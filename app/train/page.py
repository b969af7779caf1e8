"""The Train tab: settings, the buttons of a run, and its chart and samples while it learns."""

from dataclasses import dataclass

import gradio as gr

from app.train import text as words
from app.train.events import TrainEvents, make_frame
from app.train.html import make_run_buttons
from app.train.settings_page import Settings, draw_settings, wire_settings
from app.ui.context import PageContext, Shell
from app.ui.form import Form, make_form
from app.ui.fragments import fragment
from app.ui.wire import wire

# These are asked for elsewhere on the page, or come from the dataset.
_ELSEWHERE = ("base_model.path", "dataset.path", "dataset.trigger")
_COLOURS = {words.RAW: "#93c5fd", words.SMOOTHED: "#1d4ed8"}


@dataclass(frozen=True)
class _Progress:
    problems: gr.HTML
    start: gr.Button
    buttons: gr.HTML
    note: gr.HTML
    chart: gr.LinePlot
    samples: gr.HTML


def train_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    form = make_form(without=_ELSEWHERE)
    settings = draw_settings(shell, form)
    progress = _draw_progress(shell)
    events = TrainEvents(shell.workspace, form)
    wire_settings(shell, form, settings, events)
    _wire_run(shell, form, settings, progress, events)


def _draw_progress(context: PageContext) -> _Progress:
    problems = gr.HTML("", elem_id="train-problems")
    with gr.Row():
        start = gr.Button(
            words.START, variant="primary", elem_id="train-start", scale=0, min_width=180
        )
        buttons = fragment(
            "run-buttons", "run", elem_id="train-buttons", placeholder=make_run_buttons(None)
        )
    message = gr.HTML("", elem_id="train-note")
    context.run.render()
    fragment("progress", "run", elem_id="train-progress")
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
            samples = fragment("samples", "run", elem_id="train-samples", grid="enlarge")
    return _Progress(problems, start, buttons, message, chart, samples)


def _wire_run(
    shell: Shell, form: Form, settings: Settings, progress: _Progress, events: TrainEvents
) -> None:
    widgets = {path: settings.widgets[path] for path in form.paths}
    wire(
        progress.start.click,
        events.start,
        {"dataset": shell.dataset, "base_model": shell.base_model, "values": widgets},
        {
            "message": progress.note,
            "problems": progress.problems,
            "run": shell.run,
            "settings": settings.accordion,
            "values": widgets,
        },
    )
    wire(progress.buttons.select, events.command, outputs={"message": progress.note})
    # The chart shows what the samples' version stands for: the events of the run.
    wire(
        progress.samples.tick,
        events.draw_chart,
        {"run": shell.run},
        {"chart": progress.chart},
        trigger_mode="always_last",
    )
