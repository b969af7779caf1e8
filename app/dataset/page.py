"""The Dataset tab: images in, captions read and fixed, the check."""

import gradio as gr

from app.dataset import suggestions, text
from app.dataset.events import DatasetEvents
from app.dataset.html import make_editor, make_trigger
from app.ui.context import Choice, PageContext
from app.ui.fragments import fragment
from app.ui.markup import element
from app.ui.wire import MOUNT, wire, wire_in_browser


def build_dataset_page(context: PageContext) -> None:
    """Builds the tab and wires it."""
    events = DatasetEvents(context.workspace)
    message = _build_images(context, events)
    shares = fragment("dataset-folders", "dataset", elem_id="dataset-folders")
    wire(shares.select, events.change_folders, outputs={"message": message})
    _build_suggesting(context, events)
    _build_editor(events, message)
    _build_all_captions(context, events)
    check = fragment("dataset-check", "dataset", "base_model", elem_id="dataset-check")
    fixed = gr.HTML("", elem_id="dataset-fixed")
    wire(check.select, events.fix, outputs={"message": fixed})
    with gr.Column(elem_id="dataset-train"):
        with gr.Row():
            train = gr.Button(
                text.TRAIN, variant="primary", elem_id="dataset-train-start", scale=0,
                min_width=180,
            )  # fmt: skip
        gr.HTML(element("p", text.TRAIN_INFO, class_="quiet"))
    wire_in_browser(train.click, "startTraining", outputs={"tabs": context.tabs})


def _build_images(context: PageContext, events: DatasetEvents) -> gr.HTML:
    """Builds the choice of a dataset, the uploads and the trigger word; returns their message."""
    with gr.Row():
        context.dataset.render()
        name = gr.Textbox(
            label=text.NEW_NAME, placeholder=text.NEW_NAME_EXAMPLE, max_lines=1,
            elem_id="dataset-new-name", min_width=180,
        )  # fmt: skip
        create = gr.Button(text.CREATE, elem_id="dataset-create", scale=0, min_width=120)
    with gr.Row():
        uploads = gr.File(
            label=text.UPLOAD, file_count="multiple", height=170,
            elem_id="dataset-upload", min_width=280,
        )  # fmt: skip
        with gr.Column(min_width=280):
            gr.HTML(make_trigger(), js_on_load=MOUNT, elem_id="dataset-trigger-editor")
    message = gr.HTML("", elem_id="dataset-note")
    changed = {"message": message, "dataset": context.dataset}
    wire([create.click, name.submit], events.create, {"name": name}, {**changed, "name": name})
    wire(
        uploads.upload,
        events.take_in,
        {"uploads": uploads, "dataset": context.dataset},
        {**changed, "uploads": uploads},
        show_progress="full",
    )
    return message


def _build_suggesting(context: PageContext, events: DatasetEvents) -> None:
    names = ("dataset", "captioner")
    with gr.Column(elem_id="captions-row"):
        with gr.Row(elem_classes="with-button"):
            captioner = Choice(  # empty: the browser begins with the one that was used last
                choices=suggestions.list_choices(context.workspace), value=None,
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
    wire(context.demo.load, events.list_captioners, outputs=chosen)
    wire(buttons.select, events.suggest, {**chosen, "existing": existing}, message)
    wire(progress.select, events.undo, outputs=message)
    wire_in_browser(about.tick, "beginWithCaptioner", chosen, chosen)
    wire_in_browser(captioner.change, "shareCaptioner", chosen)


def _build_editor(events: DatasetEvents, message: gr.HTML) -> None:
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            fragment(
                "dataset-grid", "dataset", "base_model",
                elem_id="dataset-grid", selects="image", grid="choose",
            )  # fmt: skip
        with gr.Column(scale=2, min_width=300):
            gr.HTML(make_editor(), js_on_load=MOUNT, elem_id="dataset-editor")
            fragment("image-cut", "dataset", "image", "base_model", elem_id="dataset-cut")
            names = ("dataset", "image")
            buttons = fragment("image-buttons", *names, elem_id="dataset-image-buttons")
    wire(buttons.select, events.change_images, outputs={"message": message})


def _build_all_captions(context: PageContext, events: DatasetEvents) -> None:
    """Builds the section; the style sheet shows it once there are images."""
    with gr.Accordion(text.ALL_CAPTIONS, open=False, elem_id="captions-all"):
        with gr.Row(elem_classes="with-button"):
            old = _build_box(text.OLD, text.OLD_INFO, "captions-old")
            new = _build_box(text.NEW, text.NEW_INFO, "captions-new")
            replace = gr.Button(text.REPLACE, scale=0, min_width=150, elem_id="captions-replace")
        with gr.Row(elem_classes="with-button"):
            tag = _build_box(text.TAG, text.TAG_INFO, "captions-tag")
            add_last, add_first, remove = (
                gr.Button(label, scale=0, min_width=110, elem_id=f"captions-{name}")
                for name, label in (
                    ("add-last", text.ADD_LAST),
                    ("add-first", text.ADD_FIRST),
                    ("remove", text.REMOVE_TAG),
                )
            )
        with gr.Row(elem_classes="with-button"):
            gr.HTML(element("p", text.CLEAN_INFO, class_="quiet"))
            clean = gr.Button(text.CLEAN, scale=0, min_width=150, elem_id="captions-clean")
        undo = fragment("captions-undo", "dataset", elem_id="captions-undo-row")
        message = {"message": gr.HTML("", elem_id="captions-told")}
        tags = fragment("captions-tags", "dataset", elem_id="captions-tags")
    dataset = {"dataset": context.dataset}
    tagged = {**dataset, "tag": tag}
    wire([replace.click, new.submit], events.replace, {**dataset, "old": old, "new": new}, message)
    wire([add_last.click, tag.submit], events.add_last, tagged, message)
    wire(add_first.click, events.add_first, tagged, message)
    wire(remove.click, events.remove_tag, tagged, message)
    wire(clean.click, events.clean, dataset, message)
    wire(undo.select, events.undo, outputs=message)
    wire_in_browser(tags.select, "takeTag", outputs={"tag": tag})


def _build_box(label: str, info: str, elem_id: str) -> gr.Textbox:
    return gr.Textbox(
        label=label, info=info, max_lines=1, max_length=2000, min_width=200, elem_id=elem_id
    )
