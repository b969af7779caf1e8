"""The Train tab: settings, the buttons of a run, and its chart and samples while it learns."""

from dataclasses import dataclass

import gradio as gr

from app.train import text as words
from app.train.events import TrainEvents, make_frame
from app.train.settings_page import Settings, draw_settings, wire_settings
from app.ui.form import Form, make_form
from app.ui.paint import QUIET
from app.ui.relay import show_when
from app.ui.scripts import ENLARGE_IN_GRID, remember_in_address
from app.ui.shell import Shell, place

# These are asked for elsewhere on the page, or come from the dataset.
_ELSEWHERE = ("base_model.path", "dataset.path", "dataset.trigger")
_COLOURS = {words.RAW: "#93c5fd", words.SMOOTHED: "#1d4ed8"}


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
    settings = draw_settings(shell, form)
    progress = _draw_progress(shell)
    events = TrainEvents(shell.workspace, form)
    wire_settings(shell, form, settings, events)
    _wire_buttons(shell, form, settings, progress, events)
    _wire_watches(shell, progress, events)


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


def _wire_buttons(
    shell: Shell, form: Form, settings: Settings, progress: _Progress, events: TrainEvents
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
    show_when(
        shell,
        "run-status",
        [shell.runs_watch.tick, shell.run.change],
        events.show_status,
        [seen_status, shell.run, shell.address],
        [seen_status, shell.run, progress.progress, progress.failure, *buttons],
    )
    show_when(
        shell,
        "run-pictures",
        [shell.pictures_watch.tick, shell.run.change],
        events.show_pictures,
        [seen_pictures, shell.run],
        [seen_pictures, progress.chart, progress.samples],
    )
