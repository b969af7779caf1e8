"""The Dataset tab: images in, captions read and mended, the check."""

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from app.dataset import text as words
from app.dataset.captions_page import (
    ChangeSection,
    SuggestRow,
    draw_change_section,
    draw_suggest_row,
    wire_captions,
)
from app.dataset.events import DatasetEvents
from app.dataset.painter import PARTS, DatasetPainter
from app.ui.adoption import (
    ADOPT_IF_UNTOUCHED,
    ADOPT_OFFER,
    ADOPT_SAVED,
    ASK_FOR_TILE,
    LOCK_BOXES,
)
from app.ui.context import Shell
from app.ui.markup import element
from app.ui.paint import QUIET
from app.ui.relay import carry, show_when
from app.ui.scripts import SELECT_IN_GRID, START_ON_TRAIN_TAB, remember_in_address

FILE_TYPES = [".png", ".jpg", ".jpeg", ".webp", ".bmp"]


@dataclass(frozen=True)
class _Widgets:
    new_name: gr.Textbox
    create: gr.Button
    upload: gr.File
    trigger: gr.Textbox
    note: gr.HTML
    suggesting: SuggestRow
    grid: gr.HTML
    image: gr.HTML
    caption: gr.Textbox
    caption_note: gr.HTML
    remove: gr.Button
    undo: gr.Button
    changing: ChangeSection
    check: gr.HTML
    going_on: gr.Column
    train: gr.Button


@dataclass(frozen=True)
class _Carried:
    """What the browser carries in boxes that nobody sees.

    Attributes:
        wanted: The image that was asked for last.
        asked: The image that the server asks for, after one was removed or came back.
        offered: What the server offers for the caption box.
        bound: The edition that is in the caption box.
        saved: The edition that was saved last.
        left: A text that was in the caption box when another image took its place.
    """

    wanted: gr.Textbox
    asked: gr.Textbox
    offered: gr.Textbox
    bound: gr.Textbox
    saved: gr.Textbox
    left: gr.Textbox


def dataset_page(shell: Shell) -> None:
    """Draws the tab and wires it.

    An event that changes a folder ends in `repaint`, one that changes the browser's choice in that
    choice's box; both have the painter paint what there is then.
    """
    widgets, carried = _draw(shell), _draw_carried(shell)
    events = DatasetEvents(shell.workspace)
    repaint = _wire_painter(shell, widgets, carried)
    _wire_box(shell, widgets, carried, events, repaint)
    wire_captions(shell, widgets.suggesting, widgets.changing, repaint)
    shell.dataset.change(fn=None, inputs=[shell.dataset], js=remember_in_address("dataset"))
    shell.dataset.change(fn=None, js=LOCK_BOXES)
    gr.on(
        [widgets.create.click, widgets.new_name.submit],
        events.create,
        [widgets.new_name],
        [widgets.note, widgets.new_name, shell.dataset],
        **QUIET,
    )
    widgets.upload.upload(
        events.take_in,
        [widgets.upload, shell.dataset],
        [widgets.note, widgets.upload, shell.dataset],
        concurrency_limit=None,
        api_visibility="private",
    ).then(**repaint)
    widgets.grid.select(fn=None, outputs=[carried.wanted], js=ASK_FOR_TILE)
    told = [widgets.note, carried.asked]
    removed = [shell.dataset, carried.bound, carried.wanted]
    for button, event, inputs in (
        (widgets.remove, events.remove, removed),
        (widgets.undo, events.undo, [shell.dataset, carried.wanted]),
    ):
        button.click(fn=None, js=LOCK_BOXES)
        button.click(event, inputs, told, **QUIET).then(**repaint)
    carried.asked.change(
        fn=None,
        inputs=[carried.asked, carried.wanted],
        outputs=[carried.wanted],
        js=ADOPT_IF_UNTOUCHED,
    )
    gr.on(
        [widgets.trigger.blur, widgets.trigger.submit],
        events.keep_trigger,
        [widgets.trigger, carried.bound],
        [widgets.note],
        **QUIET,
    ).then(**repaint)
    widgets.train.click(fn=None, js=START_ON_TRAIN_TAB)


def _wire_painter(shell: Shell, widgets: _Widgets, carried: _Carried) -> dict[str, Any]:
    row, section = widgets.suggesting, widgets.changing
    parts = {
        "grid": widgets.grid,
        "check": widgets.check,
        "remove": widgets.remove,
        "undo": widgets.undo,
        "suggest": row.suggest,
        "cancel": row.cancel,
        "about": row.about,
        "progress": row.progress,
        "section": section.section,
        "take_back": section.undo,
        "tags": section.tags,
        "train": widgets.going_on,
    }
    seen = gr.State({})
    return show_when(
        shell,
        "dataset",
        [
            shell.dataset.change,
            shell.base_model.change,
            shell.datasets_watch.tick,
            row.captioner.change,
            row.watch.tick,
            carried.wanted.change,
        ],
        DatasetPainter(shell.workspace).paint,
        [seen, shell.dataset, carried.wanted, carried.bound, shell.base_model, row.captioner],
        [seen, carried.offered, *(parts[name] for name in PARTS)],
    )


def _wire_box(
    shell: Shell,
    widgets: _Widgets,
    carried: _Carried,
    events: DatasetEvents,
    repaint: dict[str, Any],
) -> None:
    carried.offered.change(
        fn=None,
        inputs=[carried.offered, carried.wanted, carried.bound, widgets.caption, shell.dataset],
        outputs=[
            widgets.caption, carried.bound, widgets.image, widgets.trigger, widgets.caption_note,
            carried.left,
        ],
        js=ADOPT_OFFER,
    )  # fmt: skip
    done = [carried.saved, widgets.caption_note]
    typed = [carried.bound, widgets.caption]
    gr.on([widgets.caption.blur, widgets.caption.submit], events.save_caption, typed, done, **QUIET)
    # Each text is another image's, so none of them may be left out.
    carried.left.change(
        events.save_left, [carried.left], done, trigger_mode="multiple", **QUIET
    ).then(**repaint)
    carried.saved.change(
        fn=None,
        inputs=[carried.saved, *typed],
        outputs=[carried.bound, carried.left],
        js=ADOPT_SAVED,
    ).then(**repaint)


def _draw(shell: Shell) -> _Widgets:
    with gr.Row():
        shell.dataset.render()
        new_name = gr.Textbox(
            label=words.NEW_NAME,
            placeholder=words.NEW_NAME_EXAMPLE,
            max_lines=1,
            elem_id="dataset-new-name",
            min_width=180,
        )
        create = gr.Button(words.CREATE, elem_id="dataset-create", scale=0, min_width=120)
    with gr.Row():
        upload = gr.File(
            label=words.UPLOAD,
            file_count="multiple",
            file_types=FILE_TYPES,
            height=170,
            elem_id="dataset-upload",
            min_width=280,
        )
        with gr.Column(min_width=280):
            trigger = gr.Textbox(
                label=words.TRIGGER,
                info=words.TRIGGER_NOTE,
                max_lines=1,
                interactive=False,
                elem_id="dataset-trigger",
            )
    said = gr.HTML("", elem_id="dataset-note")
    suggesting = draw_suggest_row(shell)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            grid = gr.HTML("", js_on_load=SELECT_IN_GRID, elem_id="dataset-grid")
        with gr.Column(scale=2, min_width=300):
            image = gr.HTML(
                element("p", words.NO_IMAGE_SELECTED, class_="quiet"), elem_id="dataset-image"
            )
            caption = gr.Textbox(
                label=words.CAPTION,
                info=words.CAPTION_INFO,
                lines=3,
                max_lines=8,
                interactive=False,
                elem_id="dataset-caption",
            )
            caption_note = gr.HTML("", elem_id="dataset-caption-note")
            with gr.Row():
                remove = gr.Button(
                    words.REMOVE, elem_id="dataset-remove", scale=0, min_width=150, size="sm"
                )
                undo = gr.Button(
                    words.UNDO, elem_id="dataset-undo", scale=0, min_width=150, size="sm"
                )
    changing = draw_change_section()
    check = gr.HTML("", elem_id="dataset-check")
    going_on, train = _draw_train()
    return _Widgets(
        new_name, create, upload, trigger, said, suggesting, grid, image, caption, caption_note,
        remove, undo, changing, check, going_on, train,
    )  # fmt: skip


def _draw_carried(shell: Shell) -> _Carried:
    return _Carried(*(carry(shell, f"dataset-{one.name}") for one in fields(_Carried)))


def _draw_train() -> tuple[gr.Column, gr.Button]:
    with gr.Column(visible=False, elem_id="dataset-train") as going_on:
        with gr.Row():
            train = gr.Button(
                words.TRAIN, variant="primary", elem_id="dataset-train-start", scale=0,
                min_width=180,
            )  # fmt: skip
        gr.HTML(element("p", words.TRAIN_INFO, class_="quiet"))
    return going_on, train
