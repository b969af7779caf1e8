"""The Preview tab: play with the weights of adapters, without and with them side by side."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from app.core.adapters import MAX_ADAPTERS, AdapterEntry, list_adapters
from app.preview import text as words
from app.preview.events import PreviewEvents
from app.ui.adoption import ADOPT_IF_UNTOUCHED, ADOPT_SUGGESTION
from app.ui.choice import Choice
from app.ui.context import Shell
from app.ui.paint import QUIET
from app.ui.relay import carry, show_when


@dataclass(frozen=True)
class _AdapterRow:
    row: gr.Row
    adapter: gr.Dropdown
    weight: gr.Slider
    remove: gr.Button


@dataclass(frozen=True)
class _Widgets:
    count: gr.Number
    rows: list[_AdapterRow]
    add: gr.Button
    drop: gr.File
    told: gr.HTML
    note: gr.HTML
    prompt: gr.Textbox
    suggested: gr.Textbox
    found: gr.Textbox
    base_model: gr.Dropdown
    seed: gr.Number
    steps: gr.Slider
    guidance: gr.Slider
    generate: gr.Button
    refusal: gr.HTML
    status: gr.HTML
    pictures: gr.HTML
    pair: gr.ImageSlider

    @property
    def adapters(self) -> list[Any]:
        """What the events read of the adapters: how many rows are shown, then all rows."""
        return [self.count, *(one for row in self.rows for one in (row.adapter, row.weight))]

    @property
    def adapters_shown(self) -> list[Any]:
        """What the events write of the adapters."""
        rows = [(row.row, row.adapter, row.weight, row.remove) for row in self.rows]
        return [self.count, *(one for row in rows for one in row), self.add]


def preview_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    events = PreviewEvents(shell.workspace)
    page = _draw(shell)
    choose = _wire_adapters(shell, page, events)
    numbers = [page.prompt, page.seed, page.steps, page.guidance]
    values = [*page.adapters, page.base_model, *numbers]
    opened = [*page.adapters_shown, page.base_model, page.found]
    shell.demo.load(events.open_page, numbers, opened, **QUIET).then(**choose)
    page.found.change(
        fn=None, inputs=[page.found, *numbers], outputs=numbers, js=ADOPT_IF_UNTOUCHED
    )
    page.generate.click(events.generate, values, [page.refusal], **QUIET)
    gr.on(
        [row.weight.release for row in page.rows],
        events.redraw,
        values,
        [page.refusal],
        trigger_mode="always_last",
        **QUIET,
    )
    seen = gr.State({})
    show_when(
        shell,
        "preview-drawing",
        [shell.drawing_watch.tick],
        events.show_drawing,
        [seen],
        [seen, page.status, page.pictures, page.pair],
    )
    show_when(
        shell,
        "preview-base-models",
        [shell.datasets_watch.tick],
        events.list_base_models,
        [],
        [page.base_model],
    )


def _wire_adapters(shell: Shell, page: _Widgets, events: PreviewEvents) -> dict[str, Any]:
    choose = show_when(
        shell,
        "preview-adapters",
        [page.count.change, *(row.adapter.change for row in page.rows)],
        events.choose,
        [page.prompt, page.found, *page.adapters],
        [page.note, page.suggested],
    )
    numbers = [page.prompt, page.steps, page.guidance]
    page.suggested.change(
        fn=None, inputs=[page.suggested, *numbers], outputs=numbers, js=ADOPT_SUGGESTION
    )
    page.add.click(events.add_row, page.adapters, page.adapters_shown, **QUIET)
    for index, row in enumerate(page.rows):
        row.remove.click(
            partial(events.remove_row, index), page.adapters, page.adapters_shown, **QUIET
        )
    page.drop.upload(
        events.take_in,
        [page.drop, *page.adapters],
        [page.told, page.drop, *page.adapters_shown],
        concurrency_limit=None,
        api_visibility="private",
    )
    seen = gr.State({})
    show_when(
        shell,
        "preview-list",
        [shell.exports_watch.tick],
        events.refresh_adapters,
        [seen, *page.adapters],
        [seen, *(row.adapter for row in page.rows), page.add],
    )
    return choose


def _draw(shell: Shell) -> _Widgets:
    entries = list_adapters(shell.workspace)
    count = gr.Number(1, visible="hidden", elem_id="preview-count", label="count")
    rows = [_draw_row(index, entries) for index in range(MAX_ADAPTERS)]
    with gr.Row():
        add = gr.Button(
            words.ADD_ROW, size="sm", scale=0, min_width=180, interactive=bool(entries),
            elem_id="preview-add",
        )  # fmt: skip
    drop, told, base_model = _draw_elsewhere(shell)
    said = gr.HTML("", elem_id="preview-adapter-note")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            prompt = gr.Textbox(
                label=words.PROMPT, lines=2, max_length=2000, elem_id="preview-prompt"
            )
            suggested = carry(shell, "preview-suggested")
            found = carry(shell, "preview-found")
        with gr.Column(scale=1, min_width=240):
            seed = gr.Number(1, label=words.SEED, elem_id="preview-seed")
            steps = gr.Slider(1, 100, value=20, step=1, label=words.STEPS, elem_id="preview-steps")
            guidance = gr.Slider(
                1, 20, value=7, step=0.5, label=words.GUIDANCE, elem_id="preview-guidance"
            )
    generate = gr.Button(
        words.GENERATE, variant="primary", scale=0, min_width=160, elem_id="preview-generate"
    )
    refusal = gr.HTML("", elem_id="preview-note")
    status = gr.HTML("", elem_id="preview-status")
    pictures = gr.HTML("", elem_id="preview-pictures")
    pair = gr.ImageSlider(
        label=words.COMPARE, interactive=False, visible=False, height=420, buttons=["fullscreen"],
        elem_id="preview-slider",
    )  # fmt: skip
    return _Widgets(
        count, rows, add, drop, told, said, prompt, suggested, found, base_model, seed, steps,
        guidance, generate, refusal, status, pictures, pair,
    )  # fmt: skip


def _draw_elsewhere(shell: Shell) -> tuple[gr.File, gr.HTML, gr.Dropdown]:
    """Draws what LoRA files from elsewhere need: a place to drop them, and a base model."""
    with gr.Accordion(words.ELSEWHERE, open=False, elem_id="preview-elsewhere"), gr.Row():
        with gr.Column(min_width=280):
            drop = gr.File(
                label=words.DROP, file_count="multiple", file_types=[".safetensors"], height=130,
                elem_id="preview-drop",
            )  # fmt: skip
        with gr.Column(min_width=280):
            base_model = Choice(
                choices=[(words.OWN_BASE, ""), *shell.workspace.list_base_models()],
                value="", label=words.BASE_MODEL, info=words.BASE_MODEL_INFO,
                elem_id="preview-base-model",
            )  # fmt: skip
    told = gr.HTML("", elem_id="preview-drop-note")
    return drop, told, base_model


def _draw_row(index: int, entries: list[AdapterEntry]) -> _AdapterRow:
    """Draws one adapter; the ids of the first row carry no number."""
    mark = f"-{index + 1}" if index else ""
    with gr.Row(visible=index == 0, elem_classes="with-button") as row:
        adapter = Choice(
            choices=[(one.label, one.id) for one in entries],
            value=entries[0].id if entries and index == 0 else None,
            label=words.adapter_number(index + 1),
            min_width=260,
            elem_id=f"preview-adapter{mark}",
        )
        weight = gr.Slider(
            0, 2, value=1, step=0.05, label=words.WEIGHT, info=words.WEIGHT_INFO, min_width=260,
            elem_id=f"preview-weight{mark}",
        )  # fmt: skip
        remove = gr.Button(
            words.REMOVE_ROW, visible=False, scale=0, min_width=110, elem_id=f"preview-remove{mark}"
        )
    return _AdapterRow(row, adapter, weight, remove)
