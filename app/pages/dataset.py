"""The Dataset tab: images in, captions read and mended, the check."""

from dataclasses import dataclass

import gradio as gr

from app.events.dataset import DatasetEvents
from app.markup import element
from app.pages.captions import (
    ChangeSection,
    Neighbours,
    SuggestRow,
    draw_change_section,
    draw_suggest_row,
    join_events,
    wire_captions,
)
from app.paint import QUIET, WATCHED
from app.scripts import (
    ADOPT_OFFER,
    ADOPT_SAVED,
    SELECT_IN_GRID,
    START_ON_TRAIN_TAB,
    lock,
    remember_in_address,
)
from app.shell import Shell, place
from app.text import dataset as words

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
    bound: gr.Textbox
    offered: gr.Textbox
    saved: gr.Textbox


def dataset_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    widgets = _draw(shell)
    events = DatasetEvents(shell.workspace)
    selected = [widgets.image, widgets.caption, widgets.offered, widgets.caption_note]
    shelf = [widgets.grid, widgets.check, widgets.remove, widgets.undo]
    place = [shell.dataset, widgets.bound, shell.base_model]

    seen = gr.State({})
    repaint = {"fn": events.refresh, "inputs": [seen, *place], "outputs": [seen, *shelf], **WATCHED}
    gr.on([shell.datasets_watch.tick, shell.base_model.change], **repaint)
    neighbours = Neighbours(widgets.caption, widgets.bound, widgets.going_on)
    show_captions = wire_captions(shell, widgets.suggesting, widgets.changing, neighbours, repaint)
    opened = {
        "fn": events.open_dataset,
        "inputs": place,
        "outputs": [widgets.trigger, *selected, *shelf],
        **QUIET,
    }
    opened = join_events(opened, show_captions)
    shell.demo.load(**opened)
    shell.dataset.change(**opened)
    shell.dataset.change(fn=None, inputs=[shell.dataset], js=remember_in_address("dataset"))
    gr.on(
        [widgets.create.click, widgets.new_name.submit],
        events.create,
        [widgets.new_name],
        [widgets.note, widgets.new_name, shell.dataset],
        **QUIET,
    )
    widgets.train.click(fn=None, js=START_ON_TRAIN_TAB)
    uploaded = widgets.upload.upload(
        events.take_in,
        [widgets.upload, *place],
        [widgets.note, widgets.upload, shell.dataset, *selected, *shelf],
        concurrency_limit=None,
        api_visibility="private",
    )
    uploaded.then(**show_captions)
    chosen = [*selected, widgets.grid, widgets.remove]
    widgets.grid.select(fn=None, js=lock("dataset-caption", True))
    arrived = widgets.grid.select(events.select, [shell.dataset], chosen, **QUIET)
    arrived.then(fn=None, js=lock("dataset-caption", False))
    _wire_box(shell, widgets, events)
    for button, event in ((widgets.remove, events.remove), (widgets.undo, events.undo)):
        button.click(event, place, [widgets.note, *selected, *shelf], **QUIET)
    gr.on(
        [widgets.trigger.blur, widgets.trigger.submit],
        events.keep_trigger,
        [widgets.trigger, shell.dataset, shell.base_model],
        [widgets.note, widgets.trigger, widgets.check],
        **QUIET,
    )


def _wire_box(shell: Shell, widgets: _Widgets, events: DatasetEvents) -> None:
    widgets.offered.change(
        fn=None,
        inputs=[widgets.offered, widgets.bound, widgets.caption],
        outputs=[widgets.caption, widgets.bound],
        js=ADOPT_OFFER,
    )
    gr.on(
        [widgets.caption.blur, widgets.caption.submit],
        events.save_caption,
        [widgets.bound, widgets.caption],
        [widgets.saved, widgets.caption_note],
        **QUIET,
    )
    adopted = widgets.saved.change(
        fn=None, inputs=[widgets.saved, widgets.bound], outputs=[widgets.bound], js=ADOPT_SAVED
    )
    # Only now, with what is selected by now: painting the grid together with the save would put
    # the mark back on an image that has been left.
    adopted.then(
        events.show_shelf,
        [shell.dataset, widgets.bound, shell.base_model],
        [widgets.grid, widgets.check, widgets.remove, widgets.undo],
        **QUIET,
    )


def _draw(shell: Shell) -> _Widgets:
    with gr.Row():
        place(shell.dataset)
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
                label=words.TRIGGER, info=words.TRIGGER_NOTE, max_lines=1, elem_id="dataset-trigger"
            )
    said = gr.HTML("", elem_id="dataset-note")
    suggesting = draw_suggest_row(shell)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            grid = gr.HTML("", js_on_load=SELECT_IN_GRID, elem_id="dataset-grid")
        with gr.Column(scale=2, min_width=300):
            image = gr.HTML("", elem_id="dataset-image")
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
    bound = gr.Textbox(visible="hidden", elem_id="dataset-bound", label="bound")
    offered = gr.Textbox(visible="hidden", elem_id="dataset-offered", label="offered")
    saved = gr.Textbox(visible="hidden", elem_id="dataset-saved", label="saved")
    return _Widgets(
        new_name, create, upload, trigger, said, suggesting, grid, image, caption, caption_note,
        remove, undo, changing, check, going_on, train, bound, offered, saved,
    )  # fmt: skip


def _draw_train() -> tuple[gr.Column, gr.Button]:
    with gr.Column(visible=False, elem_id="dataset-train") as going_on:
        with gr.Row():
            train = gr.Button(
                words.TRAIN, variant="primary", elem_id="dataset-train-start", scale=0,
                min_width=180,
            )  # fmt: skip
        gr.HTML(element("p", words.TRAIN_INFO, class_="quiet"))
    return going_on, train
