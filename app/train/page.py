"""The Train tab: settings, the buttons of a run, and its chart and samples while it learns."""

import gradio as gr

from app.train import text
from app.train.events import TrainEvents, make_frame
from app.train.settings_page import BuildBaseModel, Settings, build_settings
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.markup import make_skeleton
from app.ui.wire import wire, wire_in_browser

_COLOURS = {text.RAW: "#93c5fd", text.SMOOTHED: "#1d4ed8"}


def build_train_page(context: PageContext, build_base_model: BuildBaseModel) -> None:
    """Builds the tab and wires it.

    Args:
        context: What all pages are given.
        build_base_model: Builds what there is around the base model.
    """
    message = _build_buttons(context, build_settings(context, build_base_model))
    context.run.render()
    progress = fragment("progress", "run", elem_id="train-progress", placeholder=make_skeleton(2))
    wire_in_browser(progress.tick, "endNote", message, message)
    with gr.Row():
        with gr.Column(min_width=320):
            _build_chart(context)
        with gr.Column(min_width=320):
            fragment("samples", "run", elem_id="train-samples", grid="enlarge")


def _build_buttons(context: PageContext, settings: Settings) -> dict[str, gr.HTML]:
    """Returns the place of notes about what was pressed."""
    events, widgets = TrainEvents(context.workspace), settings.widgets
    problems = gr.HTML("", elem_id="train-problems")
    with gr.Row():
        start = gr.Button(
            text.START, variant="primary", elem_id="train-start", scale=0, min_width=180
        )
        buttons = fragment(
            "run-buttons", "run", elem_id="train-buttons", placeholder=make_skeleton()
        )
    message = {"message": gr.HTML("", elem_id="train-note")}
    chosen = {"dataset": context.dataset, "base_model": context.base_model, "values": widgets}
    shown = {"problems": problems, "run": context.run, "settings": settings.accordion}
    wire(start.click, events.start, chosen, {**message, **shown, "values": widgets})
    wire(buttons.select, events.command, outputs=message)
    return message


def _build_chart(context: PageContext) -> None:
    chart = gr.LinePlot(
        make_frame([]), x="step", y="loss", color="series", color_map=_COLOURS,
        label=text.CHART_LABEL, colors_in_legend=[],  # its legend would be cut off
        height=320, buttons=["fullscreen"], elem_id="train-chart",
    )  # fmt: skip
    losses = fragment("losses", "run", elem_id="train-losses")
    events, run = TrainEvents(context.workspace), {"run": context.run}
    for cause in (context.demo.load, losses.tick):
        wire(cause, events.plot_losses, run, {"chart": chart})
