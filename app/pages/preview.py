"""The Preview tab: play with an adapter's weight, without and with it side by side."""

from dataclasses import dataclass

import gradio as gr

from app.events.preview import PreviewEvents
from app.paint import QUIET, WATCHED
from app.shell import Shell
from app.text import preview as words
from app.views.preview import list_adapters


@dataclass(frozen=True)
class _Widgets:
    adapter: gr.Dropdown
    told: gr.HTML
    prompt: gr.Textbox
    weight: gr.Slider
    seed: gr.Number
    steps: gr.Slider
    guidance: gr.Slider
    generate: gr.Button
    refusal: gr.HTML
    status: gr.HTML
    pictures: gr.HTML
    pair: gr.ImageSlider


def preview_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    events = PreviewEvents(shell.workspace)
    page = _draw(shell)
    values = [page.adapter, page.weight, page.prompt, page.seed, page.steps, page.guidance]
    shell.demo.load(
        events.open_page,
        None,
        [page.adapter, page.prompt, page.seed, page.steps, page.guidance, page.weight],
        **QUIET,
    )
    gr.on(
        [shell.demo.load, page.adapter.change],
        events.choose,
        [page.adapter, page.prompt],
        [page.told, page.prompt, page.steps, page.guidance],
        **QUIET,
    )
    page.generate.click(events.generate, values, [page.refusal], **QUIET)
    page.weight.release(events.redraw, values, [page.refusal], **QUIET)
    seen_drawing, seen_adapters = gr.State({}), gr.State({})
    gr.on(
        [shell.demo.load, shell.drawing_watch.tick],
        events.show_drawing,
        [seen_drawing],
        [seen_drawing, page.status, page.pictures, page.pair],
        **WATCHED,
    )
    shell.exports_watch.tick(
        events.refresh_adapters,
        [seen_adapters, page.adapter],
        [seen_adapters, page.adapter],
        **WATCHED,
    )


def _draw(shell: Shell) -> _Widgets:
    entries = list_adapters(shell.workspace)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            adapter = gr.Dropdown(
                choices=[(one.label, one.id) for one in entries],
                value=entries[0].id if entries else None,
                label=words.ADAPTER,
                elem_id="preview-adapter",
            )
            told = gr.HTML("", elem_id="preview-adapter-note")
            prompt = gr.Textbox(
                label=words.PROMPT, lines=2, max_length=2000, elem_id="preview-prompt"
            )
            weight = gr.Slider(
                0, 2, value=1, step=0.05, label=words.WEIGHT, info=words.WEIGHT_INFO,
                elem_id="preview-weight",
            )  # fmt: skip
        with gr.Column(scale=1, min_width=240):
            seed = gr.Number(
                1, label=words.SEED,
                elem_id="preview-seed",
            )  # fmt: skip
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
        label=words.COMPARE,
        interactive=False,
        visible=False,
        height=420,
        buttons=["fullscreen"],
        elem_id="preview-slider",
    )
    return _Widgets(
        adapter, told, prompt, weight, seed, steps, guidance, generate, refusal, status,
        pictures, pair,
    )  # fmt: skip
