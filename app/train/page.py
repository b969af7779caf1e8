"""The Train tab: settings on the left and what they mean on the right, or a run and its samples.

The browser shows one of both (`js/train.js`): a run while it is worked on and when it has ended,
the settings otherwise.
"""

from collections.abc import Callable

import gradio as gr

from app.train import text
from app.train.events import TrainEvents, make_frame
from app.train.settings_page import BuildBaseModel, Settings, build_settings
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.markup import make_skeleton
from app.ui.wire import wire, wire_in_browser

_COLOURS = {text.RAW: "#93c5fd", text.SMOOTHED: "#1d4ed8"}
_LEFT = 380  # pixels; with the gap, 420


def build_train_page(
    context: PageContext,
    build_base_model: BuildBaseModel,
    build_queue: Callable[[PageContext], None],
) -> None:
    """Builds the tab and wires it.

    Args:
        context: What all pages are given.
        build_base_model: Builds what there is around the base model.
        build_queue: Builds the queue.
    """
    with gr.Row(elem_id="train-run-screen"):
        with gr.Column(scale=0, min_width=_LEFT, elem_classes="left"):
            progress = fragment(
                "progress", "run", elem_id="train-progress", placeholder=make_skeleton(2)
            )
            own_prompt = gr.Textbox(
                label=text.OWN_PROMPT, placeholder=text.OWN_PROMPT_EXAMPLE, max_lines=1,
                elem_id="train-own-prompt",
            )  # fmt: skip
            buttons = fragment(
                "run-buttons", "run", elem_id="train-buttons", placeholder=make_skeleton()
            )
            message = {"message": gr.HTML("", elem_id="train-note")}
            _build_prompts(context)
            context.run.render()
        with gr.Column(min_width=320, elem_classes="right"):
            finish = fragment("finish", "run", elem_id="train-finish")
            fragment("newest", "run", elem_id="train-newest", grid="enlarge")
            with gr.Row():
                with gr.Column(min_width=320):
                    fragment("samples", "run", elem_id="train-samples", grid="enlarge")
                with gr.Column(min_width=320):
                    _build_chart(context)
    with gr.Row(elem_id="train-settings-screen"):
        settings = build_settings(context, build_base_model)
    build_queue(context)
    events, tabs = TrainEvents(context.workspace), {"tabs": context.tabs}
    wire(buttons.select, events.command, {"prompt": own_prompt}, message)
    wire_in_browser(finish.select, "leaveTrain", outputs=tabs)
    wire_in_browser(progress.tick, "endNote", message, message)
    _wire_start(context, settings, message)


def _wire_start(context: PageContext, settings: Settings, message: dict[str, gr.HTML]) -> None:
    events, widgets = TrainEvents(context.workspace), settings.widgets
    chosen = {"dataset": context.dataset, "base_model": context.base_model, "values": widgets}
    shown = {
        "problems": settings.problems,
        "run": context.run,
        "settings": settings.accordion,
        "refusal": settings.refusal,
    }
    changed = {**message, **shown, "values": widgets}
    wire(settings.go.click, events.start, chosen, changed)
    wire(settings.add.click, events.add_to_queue, chosen, changed)


def _build_prompts(context: PageContext) -> None:
    """Builds the sample prompts of the shown run, which can be changed while it learns."""
    events, run = TrainEvents(context.workspace), {"run": context.run}
    with gr.Accordion(text.PROMPTS, open=False, elem_id="train-prompts-accordion") as accordion:
        prompts = gr.Textbox(
            label=text.PROMPTS_LABEL, info=text.PROMPTS_INFO, lines=4, elem_id="train-prompts"
        )
        save = gr.Button(text.SAVE_PROMPTS, size="sm", elem_id="train-prompts-save")
        note = {"message": gr.HTML("", elem_id="train-prompts-note")}
    known, box = (
        fragment("run-prompts", "run", elem_id="train-run-prompts", data=True),
        {"prompts": prompts},
    )
    # From what the page has: an answer of the server could come when somebody is typing already.
    wire_in_browser(accordion.expand, "showPrompts", outputs={**box, **note})
    wire_in_browser(known.tick, "showFirstPrompts", box, box)
    wire(save.click, events.save_prompts, {**run, "prompts": prompts}, note)


def _build_chart(context: PageContext) -> None:
    chart = gr.LinePlot(
        make_frame([]), x="step", y="loss", color="series", color_map=_COLOURS,
        label=text.CHART_LABEL, colors_in_legend=[],  # its legend would be cut off
        height=220, buttons=["fullscreen"], elem_id="train-chart",
    )  # fmt: skip
    losses = fragment("losses", "run", elem_id="train-losses")
    events, run = TrainEvents(context.workspace), {"run": context.run}
    for cause in (context.demo.load, losses.tick):
        wire(cause, events.plot_losses, run, {"chart": chart})
