"""The Preview tab: play with the weights of adapters, without and with them side by side."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.adapters import MAX_ADAPTERS
from app.preview import text
from app.preview.events import PreviewEvents
from app.preview.html import FRESH, MAX_WEIGHT
from app.ui.choice import Choice
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.wire import wire, wire_in_browser


@dataclass(frozen=True)
class _Widgets:
    """What is wired; rows are known by their numbers, "1" and so on."""

    data: gr.HTML
    adapters: dict[str, gr.Dropdown]
    weights: dict[str, gr.Slider]
    remove: dict[str, gr.Button]
    add: gr.Button
    drop: gr.File
    drop_message: gr.HTML
    base_model: gr.Dropdown
    note: gr.HTML
    values: dict[str, Any]
    generate: gr.Button
    message: gr.HTML


def preview_page(context: PageContext) -> None:
    """Draws the tab and wires it."""
    page = _draw(context)
    events = PreviewEvents(context.workspace)
    _wire_adapters(page, events)
    wire(
        [context.demo.load, page.data.tick],
        events.list_base_models,
        outputs={"base_model": page.base_model},
    )
    request = {
        "adapters": page.adapters,
        "weights": page.weights,
        "base_model": page.base_model,
        **page.values,
    }
    message = {"message": page.message}
    wire(page.generate.click, events.generate, request, message)
    wire(
        [weight.release for weight in page.weights.values()],
        events.generate_again,
        request,
        message,
        trigger_mode="always_last",
    )


def _wire_adapters(page: _Widgets, events: PreviewEvents) -> None:
    """Wires the rows; what a list that arrives does to them is decided in the browser."""
    rows = {"adapters": page.adapters, "weights": page.weights}
    shown = {**rows, "add": page.add}
    wire_in_browser(page.data.tick, "applyAdapters", rows, shown)
    changes = [adapter.change for adapter in page.adapters.values()]
    wire_in_browser(changes, "reportAdapters", rows, {"add": page.add})
    wire_in_browser(page.add.click, "addRow", rows, shown)
    for number, button in page.remove.items():
        wire_in_browser(button.click, f"removeRow{number}", rows, shown)
    wire_in_browser(page.note.tick, "applySuggestion")
    wire(
        page.drop.upload,
        events.keep_files,
        {"drop": page.drop, "adapters": page.adapters},
        {"message": page.drop_message, "drop": page.drop, "adapters": page.adapters},
        show_progress="full",
    )


def _draw(context: PageContext) -> _Widgets:
    data = fragment("preview", elem_id="preview-data", data=True)
    adapters, weights, remove = {}, {}, {}
    for place in range(MAX_ADAPTERS):
        number = str(place + 1)
        adapters[number], weights[number], remove[number] = _draw_row(number, first=not place)
    with gr.Row():
        add = gr.Button(
            text.ADD_ROW,
            size="sm",
            scale=0,
            min_width=180,
            interactive=False,
            elem_id="preview-add",
        )
    drop, drop_message, base_model = _draw_elsewhere(context)
    note = fragment("preview-note", "adapters", elem_id="preview-adapter-note", polled=False)
    values = _draw_values()
    generate = gr.Button(
        text.GENERATE, variant="primary", scale=0, min_width=160, elem_id="preview-generate"
    )
    message = gr.HTML("", elem_id="preview-note")
    fragment("preview-result", elem_id="preview-result")
    return _Widgets(
        data, adapters, weights, remove, add, drop, drop_message, base_model, note, values,
        generate, message,
    )  # fmt: skip


def _draw_row(number: str, *, first: bool) -> tuple[gr.Dropdown, gr.Slider, gr.Button]:
    """Draws one adapter; the ids of the first row's parts carry no number."""
    mark = "" if first else f"-{number}"
    # Rows without an adapter are hidden by a class (`preview.js`): all are in the page from the
    # beginning, so that a choice that comes late is seen in any of them.
    classes = ["with-button", "adapter-row", *(["shown"] if first else [])]
    with gr.Row(elem_classes=classes, elem_id=f"preview-row-{number}"):
        adapter = Choice(
            choices=[],
            value=None,
            label=text.adapter_number(int(number)),
            min_width=260,
            elem_id=f"preview-adapter{mark}",
        )
        weight = gr.Slider(
            0,
            MAX_WEIGHT,
            value=1,
            step=0.05,
            label=text.WEIGHT,
            info=text.WEIGHT_INFO,
            min_width=260,
            elem_id=f"preview-weight{mark}",
        )
        remove = gr.Button(text.REMOVE_ROW, scale=0, min_width=110, elem_id=f"preview-remove{mark}")
    return adapter, weight, remove


def _draw_elsewhere(context: PageContext) -> tuple[gr.File, gr.HTML, gr.Dropdown]:
    """Draws what LoRA files from elsewhere need: a place to drop them, and a base model."""
    with gr.Accordion(text.ELSEWHERE, open=False, elem_id="preview-elsewhere"), gr.Row():
        with gr.Column(min_width=280):
            drop = gr.File(
                label=text.DROP,
                file_count="multiple",
                file_types=[".safetensors"],
                height=130,
                elem_id="preview-drop",
            )
        with gr.Column(min_width=280):
            base_model = Choice(
                choices=[(text.OWN_BASE, ""), *context.workspace.list_base_models()],
                value="",
                label=text.BASE_MODEL,
                info=text.BASE_MODEL_INFO,
                elem_id="preview-base-model",
            )
    message = gr.HTML("", elem_id="preview-drop-note")
    return drop, message, base_model


def _draw_values() -> dict[str, Any]:
    """Draws prompt and numbers, by their names in a request."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            prompt = gr.Textbox(
                FRESH["prompt"],
                label=text.PROMPT,
                lines=2,
                max_length=2000,
                elem_id="preview-prompt",
            )
        with gr.Column(scale=1, min_width=240):
            seed = gr.Number(FRESH["seed"], label=text.SEED, elem_id="preview-seed")
            steps = gr.Slider(
                1, 100, value=FRESH["steps"], step=1, label=text.STEPS, elem_id="preview-steps"
            )
            guidance = gr.Slider(
                1,
                20,
                value=FRESH["guidance"],
                step=0.5,
                label=text.GUIDANCE,
                elem_id="preview-guidance",
            )
    return {"prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance}
