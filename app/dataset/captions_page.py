"""The parts of the Dataset tab for captions as a whole: suggesting them, and changing them all."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.dataset import captions_text as words
from app.dataset import suggestions as view
from app.dataset.caption_events import CaptionEvents
from app.ui.context import STATUS_SECONDS, Shell
from app.ui.paint import QUIET
from app.ui.scripts import PRESS
from app.ui.watch import make_watch


@dataclass(frozen=True)
class SuggestRow:
    """What is drawn to have captions suggested."""

    captioner: gr.Dropdown
    existing: gr.Radio
    suggest: gr.Button
    cancel: gr.Button
    about: gr.HTML
    told: gr.HTML
    progress: gr.HTML
    watch: gr.HTML


@dataclass(frozen=True)
class ChangeSection:
    """What is drawn to change all captions."""

    section: gr.Accordion
    old: gr.Textbox
    new: gr.Textbox
    replace: gr.Button
    tag: gr.Textbox
    add_last: gr.Button
    add_first: gr.Button
    remove: gr.Button
    undo: gr.Button
    told: gr.HTML
    tags: gr.HTML


def draw_suggest_row(shell: Shell) -> SuggestRow:
    """Draws the row."""
    captioners = view.list_captioners(shell.workspace)
    with gr.Column(elem_id="captions-row"):
        with gr.Row(elem_classes="with-button"):
            captioner = gr.Dropdown(
                choices=[(one.title, one.name) for one in captioners],
                value=view.choose_captioner(shell.workspace) or None,
                label=words.CAPTIONER, scale=1, min_width=200, elem_id="captions-captioner",
            )  # fmt: skip
            existing = gr.Radio(
                choices=[(label, key) for key, label in words.EXISTING_CHOICES.items()],
                value="keep", label=words.EXISTING, scale=3, min_width=280,
                elem_id="captions-existing",
            )  # fmt: skip
            suggest = gr.Button(
                words.SUGGEST, variant="primary", interactive=False, scale=0, min_width=250,
                elem_id="captions-suggest",
            )  # fmt: skip
            cancel = gr.Button(
                words.CANCEL, visible=False, scale=0, min_width=110, elem_id="captions-cancel"
            )
        about = gr.HTML("", elem_id="captions-about")
        told = gr.HTML("", elem_id="captions-note")
        progress = gr.HTML("", js_on_load=PRESS, elem_id="captions-progress")
    watch = make_watch("captions", STATUS_SECONDS)
    return SuggestRow(captioner, existing, suggest, cancel, about, told, progress, watch)


def draw_change_section() -> ChangeSection:
    """Draws the section; it is seen once there are images."""
    with gr.Accordion(
        words.ALL_CAPTIONS, open=False, visible=False, elem_id="captions-all"
    ) as section:
        with gr.Row(elem_classes="with-button"):
            old = gr.Textbox(
                label=words.OLD, info=words.OLD_INFO, max_lines=1, max_length=2000, min_width=200,
                elem_id="captions-old",
            )  # fmt: skip
            new = gr.Textbox(
                label=words.NEW, info=words.NEW_INFO, max_lines=1, max_length=2000, min_width=200,
                elem_id="captions-new",
            )  # fmt: skip
            replace = gr.Button(words.REPLACE, scale=0, min_width=150, elem_id="captions-replace")
        with gr.Row(elem_classes="with-button"):
            tag = gr.Textbox(
                label=words.TAG, info=words.TAG_INFO, max_lines=1, max_length=2000, min_width=200,
                elem_id="captions-tag",
            )  # fmt: skip
            add_last = gr.Button(
                words.ADD_LAST, scale=0, min_width=110, elem_id="captions-add-last"
            )
            add_first = gr.Button(
                words.ADD_FIRST, scale=0, min_width=110, elem_id="captions-add-first"
            )
            remove = gr.Button(words.REMOVE, scale=0, min_width=110, elem_id="captions-remove")
        with gr.Row():
            undo = gr.Button(
                words.NOTHING_TO_UNDO, interactive=False, scale=0, min_width=240, size="sm",
                elem_id="captions-undo",
            )  # fmt: skip
        told = gr.HTML("", elem_id="captions-told")
        tags = gr.HTML("", js_on_load=PRESS, elem_id="captions-tags")
    return ChangeSection(
        section, old, new, replace, tag, add_last, add_first, remove, undo, told, tags
    )  # fmt: skip


def wire_captions(
    shell: Shell, row: SuggestRow, section: ChangeSection, repaint: dict[str, Any]
) -> None:
    """Wires both parts.

    Args:
        shell: What the pages share.
        row: As `draw_suggest_row` drew it.
        section: As `draw_change_section` drew it.
        repaint: Has the tab painted after another event.
    """
    events = CaptionEvents(shell.workspace)
    dataset = [shell.dataset]

    shell.demo.load(events.open_page, None, [row.captioner], **QUIET)
    asked = [shell.dataset, row.captioner, row.existing]
    row.suggest.click(events.suggest, asked, [row.told], **QUIET).then(**repaint)
    row.cancel.click(events.cancel, dataset, None, **QUIET)
    undo = {"fn": events.take_back, "inputs": dataset, **QUIET}
    row.progress.select(outputs=[row.told], **undo).then(**repaint)
    section.undo.click(outputs=[section.told], **undo).then(**repaint)
    tag = [section.tag, *dataset]
    for triggers, event, inputs in (
        ([section.replace.click, section.new.submit], events.replace,
         [section.old, section.new, *dataset]),
        ([section.add_last.click, section.tag.submit], events.add_last, tag),
        ([section.add_first.click], events.add_first, tag),
        ([section.remove.click], events.remove, tag),
    ):  # fmt: skip
        gr.on(triggers, event, inputs, [section.told], **QUIET).then(**repaint)
    section.tags.select(events.take_tag, None, [section.tag], **QUIET)
