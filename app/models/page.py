"""The part of the Train tab around the base model: what it is, and how another one comes in."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.models import text as words
from app.models.events import BaseModelEvents
from app.ui.context import Shell
from app.ui.paint import QUIET
from app.ui.relay import show_when

FAMILY, PREDICTION = "base_model.family", "base_model.prediction"


@dataclass(frozen=True)
class BaseModelWidgets:
    """What is drawn around the base model."""

    card: gr.HTML
    question: gr.Radio
    unanswered: gr.HTML
    path: gr.Textbox
    add: gr.Button
    hub_id: gr.Textbox
    download: gr.Button
    cancel: gr.Button
    told: gr.HTML
    refusal: gr.HTML
    progress: gr.HTML


def draw_base_model(shell: Shell) -> BaseModelWidgets:
    """Draws card, question, and the two ways by which base models come in."""
    card = gr.HTML("", elem_id="base-model-card")
    question = gr.Radio(
        choices=[(label, key) for key, label in words.ANSWERS.items()],
        label=words.QUESTION,
        visible=False,
        elem_id="base-model-question",
    )
    unanswered = gr.HTML("", elem_id="base-model-unanswered")
    with gr.Accordion(words.OTHER_MODELS, open=False, elem_id="base-model-others"):
        with gr.Row(elem_classes="with-button", visible=shell.workspace.takes_paths):
            path = gr.Textbox(
                label=words.PATH, info=words.PATH_INFO, placeholder=words.PATH_EXAMPLE,
                max_lines=1, min_width=240, elem_id="base-model-path",
            )  # fmt: skip
            add = gr.Button(words.ADD, scale=0, min_width=120, elem_id="base-model-add")
        told = gr.HTML("", elem_id="base-model-note")
        with gr.Row(elem_classes="with-button"):
            hub_id = gr.Textbox(
                label=words.HUB, info=words.HUB_INFO, placeholder=words.HUB_EXAMPLE,
                max_lines=1, min_width=240, elem_id="base-model-hub",
            )  # fmt: skip
            download = gr.Button(
                words.DOWNLOAD, scale=0, min_width=120, elem_id="base-model-download"
            )
            cancel = gr.Button(
                words.CANCEL, scale=0, min_width=120, interactive=False, elem_id="base-model-cancel"
            )
        refusal = gr.HTML("", elem_id="base-model-refusal")
        progress = gr.HTML("", elem_id="base-model-progress")
    return BaseModelWidgets(
        card, question, unanswered, path, add, hub_id, download, cancel, told, refusal, progress
    )  # fmt: skip


def wire_base_model(
    shell: Shell, page: BaseModelWidgets, preset: gr.Dropdown, settings: dict[str, Any]
) -> None:
    """Wires the base model to its card, its preset and its settings."""
    events = BaseModelEvents(shell.workspace)
    seen_card, seen_download, seen_list = gr.State({}), gr.State({}), gr.State({})
    card = show_when(
        shell,
        "base-model",
        [shell.base_model.change, shell.models_watch.tick],
        events.show,
        [seen_card, shell.base_model, preset],
        [seen_card, page.card, page.question, preset, settings[FAMILY], settings[PREDICTION]],
    )
    progress = show_when(
        shell,
        "base-model-download",
        [shell.downloads_watch.tick],
        events.show_download,
        [seen_download],
        [seen_download, page.progress, page.download, page.cancel, shell.base_model],
    )
    show_when(
        shell,
        "base-model-list",
        [shell.datasets_watch.tick],
        events.refresh_list,
        [seen_list],
        [seen_list, shell.base_model],
    )
    page.question.input(
        events.answer,
        [shell.base_model, page.question],
        [page.unanswered, settings[PREDICTION]],
        **QUIET,
    ).then(**card)
    gr.on(
        [page.add.click, page.path.submit],
        events.add,
        [page.path],
        [page.told, page.path, shell.base_model],
        **QUIET,
    )
    gr.on(
        [page.download.click, page.hub_id.submit],
        events.download,
        [seen_download, page.hub_id],
        [page.refusal, seen_download],
        **QUIET,
    ).then(**progress)
    page.cancel.click(events.cancel, None, None, **QUIET)
