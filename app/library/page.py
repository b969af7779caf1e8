"""The Library tab: what was trained or brought, to look into, to download and to continue."""

from dataclasses import dataclass
from functools import partial

import gradio as gr

from app.combine.page import draw_workbench
from app.library import files_text as file_words
from app.library import text as words
from app.library.events import LibraryEvents
from app.ui.choice import Choice
from app.ui.context import Shell
from app.ui.markup import element
from app.ui.paint import QUIET
from app.ui.relay import carry, show_when
from app.ui.scripts import (
    CLOSE_LID,
    SELECT_IN_GRID,
    read_address,
    read_pressed,
    remember_in_address,
)


@dataclass(frozen=True)
class _Widgets:
    cards: gr.HTML
    facts: gr.HTML
    file: gr.Dropdown
    download: gr.HTML
    onward: gr.Button
    settings: gr.Button
    resume: gr.Button
    told: gr.HTML
    trigger: gr.Textbox
    syntax: gr.Textbox
    about_lid: gr.Accordion
    about: gr.HTML
    share_lid: gr.Accordion
    packs: dict[str, gr.Button]
    packed: dict[str, gr.HTML]
    upload: gr.Textbox
    log: gr.HTML
    opened: gr.Textbox


def library_page(shell: Shell) -> None:
    """Draws the tab and wires it."""
    events = LibraryEvents(shell.workspace)
    page = _draw(shell)
    draw_workbench(shell)
    chosen = [page.opened, page.file]
    page.cards.select(fn=None, outputs=[page.opened], js=read_pressed("library-cards"))
    page.opened.change(fn=None, inputs=[page.opened], js=remember_in_address("open"))
    seen, seen_file = gr.State({}), gr.State({})
    shown = show_when(
        shell,
        "library",
        [page.opened.change, page.file.input, shell.exports_watch.tick],
        events.show,
        [seen, *chosen],
        [
            seen, page.cards, page.facts, page.file, page.download, page.trigger, page.syntax,
            page.resume, page.onward, page.settings, page.about_lid, page.share_lid, page.log,
        ],
    )  # fmt: skip
    shell.demo.load(fn=None, outputs=[page.opened], js=read_address("open")).then(**shown)
    about = show_when(
        shell,
        "library-file",
        [page.file.change, shell.files_watch.tick],
        events.show_file,
        [seen_file, *chosen],
        [seen_file, page.about, *page.packed.values(), page.upload],
    )
    # What is behind a lid is asked for when it is opened; another file closes it.
    page.opened.change(fn=None, outputs=[page.about_lid], js=CLOSE_LID)
    page.opened.change(fn=None, outputs=[page.told], js="() => ''")
    page.about_lid.expand(events.look, chosen, [page.told], **QUIET).then(**about)
    for kind, button in page.packs.items():
        button.click(partial(events.pack, kind), chosen, [page.told], **QUIET).then(**about)
    for kind, button in (("continue", page.onward), ("settings", page.settings)):
        button.click(partial(events.wish, kind), chosen, [shell.wish], **QUIET)
    page.resume.click(events.resume, [page.opened], [page.told], **QUIET)


def _draw(shell: Shell) -> _Widgets:
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            cards = gr.HTML("", js_on_load=SELECT_IN_GRID, elem_id="library-cards")
        with gr.Column(scale=3, min_width=300):
            facts = gr.HTML("", elem_id="library-facts")
            file = Choice(choices=[], label=file_words.FILE, visible=False, elem_id="library-file")
            download = gr.HTML("", elem_id="library-download")
            with gr.Row():
                onward, settings, resume = (
                    gr.Button(
                        label, visible=False, scale=0, min_width=180, size="sm", elem_id=element_id
                    )
                    for label, element_id in (
                        (file_words.CONTINUE, "library-continue"),
                        (file_words.SETTINGS, "library-settings"),
                        (words.RESUME, "library-resume"),
                    )
                )
            told = gr.HTML("", elem_id="library-note")
            trigger = _draw_copied(words.TRIGGER, "library-trigger")
            syntax = _draw_copied(words.SYNTAX, "library-syntax", words.SYNTAX_INFO)
            with gr.Accordion(
                file_words.ABOUT, open=False, visible=False, elem_id="library-about-lid"
            ) as about_lid:
                about = gr.HTML("", elem_id="library-about")
            share_lid, packs, packed, upload = _draw_share()
            log = gr.HTML("", elem_id="library-log")
    opened = carry(shell, "library-open")
    return _Widgets(
        cards, facts, file, download, onward, settings, resume, told, trigger, syntax, about_lid,
        about, share_lid, packs, packed, upload, log, opened,
    )  # fmt: skip


def _draw_share() -> tuple[gr.Accordion, dict[str, gr.Button], dict[str, gr.HTML], gr.Textbox]:
    packs, packed = {}, {}
    with gr.Accordion(
        file_words.SHARE, open=False, visible=False, elem_id="library-share-lid"
    ) as lid:
        gr.HTML(element("p", file_words.SHARE_INFO, class_="quiet"))
        for kind, label in (("civitai", file_words.PACK_CIVITAI), ("hub", file_words.PACK_HUB)):
            with gr.Row():
                packs[kind] = gr.Button(
                    label, size="sm", scale=0, min_width=220, elem_id=f"library-pack-{kind}"
                )
            packed[kind] = gr.HTML("", elem_id=f"library-packed-{kind}")
        upload = _draw_copied(
            file_words.UPLOAD, "library-upload", file_words.UPLOAD_INFO, visible=True
        )
    return lid, packs, packed, upload


def _draw_copied(
    label: str, element_id: str, info: str = "", *, visible: bool = False
) -> gr.Textbox:
    """Draws a line that a person copies."""
    return gr.Textbox(
        label=label,
        info=info or None,
        buttons=["copy"],
        interactive=False,
        visible=visible,
        elem_id=element_id,
    )
