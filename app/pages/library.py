"""The Library tab: what was trained, to look at, to download and to continue."""

import gradio as gr

from app.events.library import LibraryEvents
from app.paint import QUIET, WATCHED
from app.scripts import SELECT_IN_GRID, remember_in_address
from app.shell import Shell
from app.text import library as words


def library_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    events = LibraryEvents(shell.workspace)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            cards = gr.HTML("", js_on_load=SELECT_IN_GRID, elem_id="library-cards")
        with gr.Column(scale=2, min_width=300):
            facts = gr.HTML("", elem_id="library-facts")
            download = gr.HTML("", elem_id="library-download")
            trigger = gr.Textbox(
                label=words.TRIGGER,
                buttons=["copy"],
                interactive=False,
                visible=False,
                elem_id="library-trigger",
            )
            syntax = gr.Textbox(
                label=words.SYNTAX,
                info=words.SYNTAX_INFO,
                buttons=["copy"],
                interactive=False,
                visible=False,
                elem_id="library-syntax",
            )
            resume = gr.Button(
                words.RESUME, visible=False, scale=0, min_width=180, elem_id="library-resume"
            )
            told = gr.HTML("", elem_id="library-note")
            log = gr.HTML("", elem_id="library-log")
    opened = gr.Textbox(visible="hidden", elem_id="library-open", label="open")
    seen = gr.State({})

    cards.select(events.select, None, [opened], **QUIET)
    opened.change(fn=None, inputs=[opened], js=remember_in_address("open"))
    shown = {
        "fn": events.show,
        "inputs": [seen, opened],
        "outputs": [seen, cards, facts, trigger, syntax, download, resume, log],
        **WATCHED,
    }
    shell.demo.load(events.open_page, None, [opened], **QUIET).then(**shown)
    gr.on([opened.change, shell.exports_watch.tick], **shown)
    resume.click(events.resume, [opened], [told], **QUIET)
