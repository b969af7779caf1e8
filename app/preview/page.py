"""The Preview tab: play with the weights of adapters, without and with them side by side."""

from typing import Any

import gradio as gr

from app.core.lora_files import MAX_ADAPTERS
from app.preview import text
from app.preview.events import PreviewEvents
from app.preview.html import FRESH, MAX_WEIGHT
from app.ui.context import Choice, PageContext
from app.ui.fragments import fragment
from app.ui.markup import note
from app.ui.wire import wire, wire_in_browser
from trainer.formats.samplers import SAMPLERS
from trainer.runs.grids import AXES

ASPECTS = ("3:2", "2:3", "4:3", "3:4", "16:9", "9:16")
Rows = dict[str, dict[str, Any]]  # adapters and weights, each by the number of its row


def build_preview_page(context: PageContext) -> None:
    """Builds the tab and wires it."""
    events = PreviewEvents(context.workspace)
    data = fragment("preview", elem_id="preview-data", data=True)
    with gr.Row(elem_id="preview-columns"):
        with gr.Column(scale=2, min_width=320):
            rows = _build_rows(data)
            adapter_note = fragment(
                "preview-note", "adapters", elem_id="preview-adapter-note", polled=False
            )
            values = _build_values()
            with gr.Row():
                generate = gr.Button(
                    text.GENERATE, variant="primary", scale=0, min_width=160,
                    elem_id="preview-generate",
                )  # fmt: skip
                dice = gr.Button(text.DICE, scale=0, min_width=180, elem_id="preview-dice")
            base_model = _build_elsewhere(context, events, rows)
            axes = _build_grid()
        with gr.Column(scale=3, min_width=320, elem_id="preview-right"):
            message = {"message": gr.HTML("", elem_id="preview-note")}
            result = fragment("preview-result", elem_id="preview-result")
            grid = fragment("preview-grid", elem_id="preview-grid", grid="enlarge")
    wire_in_browser(adapter_note.tick, "applySuggestion")
    request = {**rows, "base_model": base_model, **values}
    wire(dice.click, events.choose_seed, outputs={"seed": values["seed"]})
    wire([result.select, grid.select], events.cancel, outputs=message)
    models = {"base_model": base_model}
    wire([context.demo.load, data.tick], events.list_base_models, outputs=models)
    wire(generate.click, events.generate, request, message)
    button = axes.pop("button")
    wire(button.click, events.generate_grid, {**request, **axes}, message)
    wire(
        [weight.release for weight in rows["weights"].values()],
        events.generate_again,
        request,
        message,
        trigger_mode="always_last",
    )


def _build_rows(data: gr.HTML) -> Rows:
    """Builds the rows; what a list that arrives does to them is decided in the browser."""
    adapters, weights, remove = {}, {}, {}
    for place in range(MAX_ADAPTERS):
        number = str(place + 1)
        adapters[number], weights[number], remove[number] = _build_row(number, first=not place)
    with gr.Row():
        add = gr.Button(
            text.ADD_ROW, size="sm", scale=0, min_width=180, interactive=False,
            elem_id="preview-add",
        )  # fmt: skip
    rows: Rows = {"adapters": adapters, "weights": weights}
    shown = {**rows, "add": add}
    wire_in_browser(data.tick, "applyAdapters", rows, shown)
    changes = [adapter.change for adapter in adapters.values()]
    wire_in_browser(changes, "reportAdapters", rows, {"add": add})
    wire_in_browser(add.click, "addRow", rows, shown)
    for number, button in remove.items():
        wire_in_browser(button.click, f"removeRow{number}", rows, shown)
    return rows


def _build_row(number: str, *, first: bool) -> tuple[gr.Dropdown, gr.Slider, gr.Button]:
    """Builds one adapter; the ids of the first row's parts carry no number."""
    ending = "" if first else f"-{number}"
    # Rows without an adapter are hidden by a class (`preview.js`): all are in the page from the
    # beginning, so that a choice that comes late is seen in any of them.
    classes = ["with-button", "adapter-row", *(["shown"] if first else [])]
    with gr.Row(elem_classes=classes, elem_id=f"preview-row-{number}"):
        adapter = Choice(
            choices=[], value=None, label=text.adapter_number(int(number)), min_width=260,
            elem_id=f"preview-adapter{ending}",
        )  # fmt: skip
        weight = gr.Slider(
            -MAX_WEIGHT, MAX_WEIGHT, value=1, step=0.05, label=text.WEIGHT, info=text.WEIGHT_INFO,
            min_width=260, elem_id=f"preview-weight{ending}",
        )  # fmt: skip
        remove = gr.Button(
            text.REMOVE_ROW, scale=0, min_width=110, elem_id=f"preview-remove{ending}"
        )
    return adapter, weight, remove


def _build_grid() -> dict[str, Any]:
    """Builds the choice of a grid's axes, by their names in its event, and its button."""
    axes: dict[str, Any] = {}
    first = {"rows": ("prompt", ""), "columns": ("weight", "0\n0.5\n1")}
    with gr.Accordion(text.GRID, open=False, elem_id="preview-grid-lid"):
        gr.HTML(note(text.GRID_INFO))
        with gr.Row():
            for which, (axis, lines) in first.items():
                label = {"rows": text.GRID_ROWS, "columns": text.GRID_COLUMNS}[which]
                with gr.Column(min_width=150):
                    axes[which] = Choice(
                        choices=list(AXES), value=axis, label=label, elem_id=f"preview-grid-{which}"
                    )
                    axes[f"{which}_lines"] = gr.Textbox(
                        lines, label=text.grid_values(label), lines=3, max_lines=8, max_length=8000,
                        elem_id=f"preview-grid-{which}-values",
                    )  # fmt: skip
        axes["button"] = gr.Button(text.GRID_GENERATE, elem_id="preview-grid-generate")
    return axes


def _build_elsewhere(context: PageContext, events: PreviewEvents, rows: Rows) -> gr.Dropdown:
    """Builds a place to drop LoRA files from elsewhere, and the choice of their base model."""
    with gr.Accordion(text.ELSEWHERE, open=False, elem_id="preview-elsewhere"), gr.Row():
        with gr.Column(min_width=280):
            drop = gr.File(
                label=text.DROP, file_count="multiple", file_types=[".safetensors"], height=130,
                elem_id="preview-drop",
            )  # fmt: skip
        with gr.Column(min_width=280):
            base_model = Choice(
                choices=[(text.OWN_BASE, ""), *context.workspace.list_base_models()], value="",
                label=text.BASE_MODEL, info=text.BASE_MODEL_INFO, elem_id="preview-base-model",
            )  # fmt: skip
    brought = {"drop": drop, "adapters": rows["adapters"]}
    message = {"message": gr.HTML("", elem_id="preview-drop-note")}
    wire(drop.upload, events.keep_files, brought, {**message, **brought}, show_progress="full")
    return base_model


def _build_values() -> dict[str, Any]:
    """Builds prompts and numbers, by their names in a request."""
    prompt = gr.Textbox(
        FRESH["prompt"], label=text.PROMPT, lines=2, max_length=2000, elem_id="preview-prompt"
    )
    negative = gr.Textbox(
        FRESH["negative"], label=text.NEGATIVE, lines=1, max_length=2000,
        elem_id="preview-negative",
    )  # fmt: skip
    with gr.Row():
        sampler = Choice(
            choices=[(text.OWN_SAMPLER, ""), *SAMPLERS], value="", label=text.SAMPLER,
            min_width=200, elem_id="preview-sampler",
        )  # fmt: skip
        aspect = Choice(
            choices=[(text.OWN_SIZE, ""), *ASPECTS], value="", label=text.ASPECT,
            min_width=150, elem_id="preview-aspect",
        )  # fmt: skip
    with gr.Row():
        seed = gr.Number(FRESH["seed"], label=text.SEED, min_width=110, elem_id="preview-seed")
        count = gr.Number(
            1, label=text.COUNT, minimum=1, maximum=8, precision=0, min_width=80,
            elem_id="preview-count",
        )  # fmt: skip
    with gr.Row():
        steps = gr.Slider(
            1, 100, value=FRESH["steps"], step=1, label=text.STEPS, min_width=150,
            elem_id="preview-steps",
        )  # fmt: skip
        guidance = gr.Slider(
            1, 20, value=FRESH["guidance"], step=0.5, label=text.GUIDANCE, min_width=150,
            elem_id="preview-guidance",
        )  # fmt: skip
    return {
        "prompt": prompt, "negative": negative, "sampler": sampler, "aspect": aspect,
        "seed": seed, "count": count, "steps": steps, "guidance": guidance,
    }  # fmt: skip
