"""The Dataset tab: images in, captions read and fixed, the check."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Images:
    new_name: gr.Textbox
    create: gr.Button
    upload: gr.File
    message: gr.HTML


@dataclass(frozen=True)
class _Suggesting:
    captioner: Choice
    existing: gr.Radio
    buttons: gr.HTML
    about: gr.HTML
    message: gr.HTML
    progress: gr.HTML


@dataclass(frozen=True)
class _AllCaptions:
    old: gr.Textbox
    new: gr.Textbox
    replace: gr.Button
    tag: gr.Textbox
    add_last: gr.Button
    add_first: gr.Button
    remove: gr.Button
    undo: gr.HTML
    message: gr.HTML
    tags: gr.HTML


def dataset_page(context: PageContext) -> None:
    """Draws the tab and wires it."""
    events = DatasetEvents(context.workspace)
    images = _draw_images(context)
    suggesting = _draw_suggesting(context)
    image_buttons = _draw_editor()
    all_captions = _draw_all_captions()
    fragment("dataset-check", "dataset", "base_model", elem_id="dataset-check")
    train = _draw_train()
    _wire_images(context, events, images, image_buttons)
    _wire_suggesting(events, suggesting)
    _wire_all_captions(context, events, all_captions)
    wire_in_browser(train.click, "startTraining", outputs={"tabs": context.tabs})


def _draw_images(context: PageContext) -> _Images:
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
    return _Images(new_name, create, upload, message)


def _draw_suggesting(context: PageContext) -> _Suggesting:
    captioners = suggestions.list_captioners(context.workspace)
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
            names = ("dataset", "captioner")
            buttons = fragment("captions-buttons", *names, elem_id="captions-buttons")
        about = fragment("captions-about", *names, elem_id="captions-about")
        message = gr.HTML("", elem_id="captions-note")
        progress = fragment("captions-progress", "dataset", elem_id="captions-progress")
    return _Suggesting(captioner, existing, buttons, about, message, progress)


def _draw_editor() -> gr.HTML:
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            fragment(
                "dataset-grid", "dataset", elem_id="dataset-grid", selects="image", grid="choose"
            )
        with gr.Column(scale=2, min_width=300):
            _draw_mounted(make_editor(), "dataset-editor")
            return fragment("image-buttons", "dataset", "image", elem_id="dataset-image-buttons")


def _draw_all_captions() -> _AllCaptions:
    """Draws the section; the style sheet shows it once there are images."""
    with gr.Accordion(text.ALL_CAPTIONS, open=False, elem_id="captions-all"):
        with gr.Row(elem_classes="with-button"):
            old = _draw_box(text.OLD, text.OLD_INFO, "captions-old")
            new = _draw_box(text.NEW, text.NEW_INFO, "captions-new")
            replace = gr.Button(text.REPLACE, scale=0, min_width=150, elem_id="captions-replace")
        with gr.Row(elem_classes="with-button"):
            tag = _draw_box(text.TAG, text.TAG_INFO, "captions-tag")
            add_last, add_first, remove = (
                gr.Button(label, scale=0, min_width=110, elem_id=f"captions-{name}")
                for name, label in (
                    ("add-last", text.ADD_LAST),
                    ("add-first", text.ADD_FIRST),
                    ("remove", text.REMOVE_TAG),
                )
            )
        undo = fragment("captions-undo", "dataset", elem_id="captions-undo-row")
        message = gr.HTML("", elem_id="captions-told")
        tags = fragment("captions-tags", "dataset", elem_id="captions-tags")
    return _AllCaptions(old, new, replace, tag, add_last, add_first, remove, undo, message, tags)


def _draw_box(label: str, info: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(
        label=label, info=info, max_lines=1, max_length=2000, min_width=200, elem_id=elem_id
    )


def _draw_train() -> gr.Button:
    with gr.Column(elem_id="dataset-train"):
        with gr.Row():
            train = gr.Button(
                text.TRAIN, variant="primary", elem_id="dataset-train-start", scale=0,
                min_width=180,
            )  # fmt: skip
        gr.HTML(element("p", text.TRAIN_INFO, class_="quiet"))
    return train


def _draw_mounted(content: Markup, elem_id: str) -> gr.HTML:
    """Draws HTML that the page's script takes over."""
    return gr.HTML(content, js_on_load=MOUNT, elem_id=elem_id)


def _wire_images(
    context: PageContext, events: DatasetEvents, images: _Images, image_buttons: gr.HTML
) -> None:
    message = {"message": images.message}
    wire(
        [images.create.click, images.new_name.submit],
        events.create,
        {"name": images.new_name},
        {**message, "name": images.new_name, "dataset": context.dataset},
    )
    wire(
        images.upload.upload,
        events.take_in,
        {"uploads": images.upload, "dataset": context.dataset},
        {**message, "uploads": images.upload, "dataset": context.dataset},
        show_progress="full",
    )
    wire(image_buttons.select, events.change_images, outputs=message)


def _wire_suggesting(events: DatasetEvents, row: _Suggesting) -> None:
    message = {"message": row.message}
    chosen = {"captioner": row.captioner, "existing": row.existing}
    wire(row.buttons.select, events.suggest, chosen, message)
    wire(row.progress.select, events.undo, outputs=message)
    captioner = {"captioner": row.captioner}
    wire_in_browser(row.about.tick, "beginWithCaptioner", captioner, captioner)
    wire_in_browser(row.captioner.change, "shareCaptioner", captioner)


def _wire_all_captions(context: PageContext, events: DatasetEvents, section: _AllCaptions) -> None:
    message = {"message": section.message}
    dataset = {"dataset": context.dataset}
    words = {**dataset, "old": section.old, "new": section.new}
    tag = {**dataset, "tag": section.tag}
    wire([section.replace.click, section.new.submit], events.replace, words, message)
    wire([section.add_last.click, section.tag.submit], events.add_last, tag, message)
    wire(section.add_first.click, events.add_first, tag, message)
    wire(section.remove.click, events.remove_tag, tag, message)
    wire(section.undo.select, events.undo, outputs=message)
    wire_in_browser(section.tags.select, "takeTag", outputs={"tag": section.tag})
