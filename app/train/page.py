"""The Train tab: settings, the buttons of a run, and its chart and samples while it learns."""

from dataclasses import dataclass

import gradio as gr

from app.train import text
from app.train.events import TrainEvents, make_frame
from app.train.html import make_run_buttons
from app.train.settings_page import DrawBaseModel, Settings, draw_settings
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.wire import wire

_COLOURS = {text.RAW: "#93c5fd", text.SMOOTHED: "#1d4ed8"}


@dataclass(frozen=True)
class _Progress:
    problems: gr.HTML
    start: gr.Button
    buttons: gr.HTML
    note: gr.HTML
    chart: gr.LinePlot
    samples: gr.HTML


def train_page(context: PageContext, draw_base_model: DrawBaseModel) -> None:
    """Draws the tab and wires it.

    Args:
        context: What all pages are given.
        draw_base_model: Draws what there is around the base model.
    """
    settings = draw_settings(context, draw_base_model)
    _wire_run(context, settings, _draw_progress(context))


def _draw_progress(context: PageContext) -> _Progress:
    problems = gr.HTML("", elem_id="train-problems")
    with gr.Row():
        start = gr.Button(
            text.START, variant="primary", elem_id="train-start", scale=0, min_width=180
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
            label=text.CHART_LABEL,
            colors_in_legend=[],  # its legend would be cut off; the label says it
            height=320,
            buttons=["fullscreen"],
            elem_id="train-chart",
            min_width=320,
        )
        with gr.Column(min_width=320):
            samples = fragment("samples", "run", elem_id="train-samples", grid="enlarge")
    return _Progress(problems, start, buttons, message, chart, samples)


def _wire_run(context: PageContext, settings: Settings, progress: _Progress) -> None:
    events, widgets = TrainEvents(context.workspace), settings.widgets
    wire(
        progress.start.click,
        events.start,
        {"dataset": context.dataset, "base_model": context.base_model, "values": widgets},
        {
            "message": progress.note,
            "problems": progress.problems,
            "run": context.run,
            "settings": settings.accordion,
            "values": widgets,
        },
    )
    wire(progress.buttons.select, events.command, outputs={"message": progress.note})
    # The chart shows what the samples' version stands for: the events of the run.
    wire(
        progress.samples.tick,
        events.draw_chart,
        {"run": context.run},
        {"chart": progress.chart},
        trigger_mode="always_last",
    )
