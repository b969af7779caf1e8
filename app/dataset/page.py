"""The Dataset tab: images in, captions read and fixed, the check."""

import gradio as gr

from app.dataset import suggestions, text
from app.dataset.events import DatasetEvents
from app.dataset.html import make_editor, make_trigger
from app.ui.choice import Choice
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.markup import Markup, element
from app.ui.wire import MOUNT, wire, wire_in_browser

FILE_TYPES = [".png", ".jpg", ".jpeg", ".webp", ".bmp"]


def dataset_page(context: PageContext) -> None:
    """Draws the tab and wires it."""
    events = DatasetEvents(context.workspace)
    message = _draw_images(context, events)
    _draw_suggesting(context, events)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            fragment(
                "dataset-grid", "dataset", elem_id="dataset-grid", selects="image", grid="choose"
            )
        with gr.Column(scale=2, min_width=300):
            _draw_mounted(make_editor(), "dataset-editor")
            names = ("dataset", "image")
            buttons = fragment("image-buttons", *names, elem_id="dataset-image-buttons")
            wire(buttons.select, events.change_images, outputs={"message": message})
    _draw_all_captions(context, events)
    fragment("dataset-check", "dataset", "base_model", elem_id="dataset-check")
    _draw_train(context)


def _draw_images(context: PageContext, events: DatasetEvents) -> gr.HTML:
    """Draws what brings images in, and returns where its messages go."""
    with gr.Row():
        context.dataset.render()
        new_name = gr.Textbox(
            label=text.NEW_NAME,
            placeholder=text.NEW_NAME_EXAMPLE,
            max_lines=1,
            elem_id="dataset-new-name",
            min_width=180,
        )
        create = gr.Button(text.CREATE, elem_id="dataset-create", scale=0, min_width=120)
    with gr.Row():
        upload = gr.File(
            label=text.UPLOAD,
            file_count="multiple",
            file_types=FILE_TYPES,
            height=170,
            elem_id="dataset-upload",
            min_width=280,
        )
        with gr.Column(min_width=280):
            _draw_mounted(make_trigger(), "dataset-trigger-editor")
    message = gr.HTML("", elem_id="dataset-note")
    outputs = {"message": message, "dataset": context.dataset}
    wire(
        [create.click, new_name.submit],
        events.create,
        {"name": new_name},
        {**outputs, "name": new_name},
    )
    wire(
        upload.upload,
        events.take_in,
        {"uploads": upload, "dataset": context.dataset},
        {**outputs, "uploads": upload},
        show_progress="full",
    )
    return message


def _draw_suggesting(context: PageContext, events: DatasetEvents) -> None:
    captioners = suggestions.list_captioners(context.workspace)
    names = ("dataset", "captioner")
    with gr.Column(elem_id="captions-row"):
        with gr.Row(elem_classes="with-button"):
            captioner = Choice(  # empty: the browser begins with the one that was used last
                choices=[(one.title, one.name) for one in captioners], value=None,
                label=text.CAPTIONER, scale=1, min_width=200, elem_id="captions-captioner",
            )  # fmt: skip
            existing = gr.Radio(
                choices=[(label, key) for key, label in text.EXISTING_CHOICES.items()],
                value="keep", label=text.EXISTING, scale=3, min_width=280,
                elem_id="captions-existing",
            )  # fmt: skip
            buttons = fragment("captions-buttons", *names, elem_id="captions-buttons")
        about = fragment("captions-about", *names, elem_id="captions-about")
        message = {"message": gr.HTML("", elem_id="captions-note")}
        progress = fragment("captions-progress", "dataset", elem_id="captions-progress")
    chosen = {"captioner": captioner}
    wire(buttons.select, events.suggest, {**chosen, "existing": existing}, message)
    wire(progress.select, events.undo, outputs=message)
    wire_in_browser(about.tick, "beginWithCaptioner", chosen, chosen)
    wire_in_browser(captioner.change, "shareCaptioner", chosen)


def _draw_all_captions(context: PageContext, events: DatasetEvents) -> None:
    """Draws the section; the style sheet shows it once there are images."""
    with gr.Accordion(text.ALL_CAPTIONS, open=False, elem_id="captions-all"):
        with gr.Row(elem_classes="with-button"):
            old = _draw_box(text.OLD, text.OLD_INFO, "captions-old")
            new = _draw_box(text.NEW, text.NEW_INFO, "captions-new")
            replace = gr.Button(text.REPLACE, scale=0, min_width=150, elem_id="captions-replace")
        with gr.Row(elem_classes="with-button"):
            tag = _draw_box(text.TAG, text.TAG_INFO, "captions-tag")
            add_last = _draw_button(text.ADD_LAST, "captions-add-last")
            add_first = _draw_button(text.ADD_FIRST, "captions-add-first")
            remove = _draw_button(text.REMOVE_TAG, "captions-remove")
        undo = fragment("captions-undo", "dataset", elem_id="captions-undo-row")
        message = {"message": gr.HTML("", elem_id="captions-told")}
        tags = fragment("captions-tags", "dataset", elem_id="captions-tags")
    find = {"dataset": context.dataset, "old": old, "new": new}
    tagged = {"dataset": context.dataset, "tag": tag}
    wire([replace.click, new.submit], events.replace, find, message)
    wire([add_last.click, tag.submit], events.add_last, tagged, message)
    wire(add_first.click, events.add_first, tagged, message)
    wire(remove.click, events.remove_tag, tagged, message)
    wire(undo.select, events.undo, outputs=message)
    wire_in_browser(tags.select, "takeTag", outputs={"tag": tag})


def _draw_box(label: str, info: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(
        label=label, info=info, max_lines=1, max_length=2000, min_width=200, elem_id=elem_id
    )


def _draw_button(label: str, elem_id: str) -> gr.Button:
    return gr.Button(label, scale=0, min_width=110, elem_id=elem_id)


def _draw_train(context: PageContext) -> None:
    with gr.Column(elem_id="dataset-train"):
        with gr.Row():
            train = gr.Button(
                text.TRAIN, variant="primary", elem_id="dataset-train-start", scale=0,
                min_width=180,
            )  # fmt: skip
        gr.HTML(element("p", text.TRAIN_INFO, class_="quiet"))
    wire_in_browser(train.click, "startTraining", outputs={"tabs": context.tabs})


def _draw_mounted(content: Markup, elem_id: str) -> None:
    """Draws HTML that the page's script takes over."""
    gr.HTML(content, js_on_load=MOUNT, elem_id=elem_id)
