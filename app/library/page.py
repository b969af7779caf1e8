"""The Library tab: what was trained or brought, to look into, to download and to continue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.library import text
from app.library.events import ContinueRun, LibraryEvents
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.wire import wire, wire_in_browser

_FILE = ("open", "library_file")  # what is opened, and which of its files is chosen


@dataclass(frozen=True)
class _Widgets:
    opened: gr.HTML
    message: gr.HTML
    about_accordion: gr.Accordion
    about: gr.HTML
    share_accordion: gr.Accordion
    share: gr.HTML


def library_page(
    context: PageContext, draw_combine: Callable[[Any], None], continue_run: ContinueRun
) -> None:
    """Draws the tab and wires it.

    Args:
        context: What all pages are handed.
        draw_combine: Draws the section where files are combined.
        continue_run: Starts the trainer on a run again.
    """
    page = _draw()
    draw_combine(context)
    events = LibraryEvents(context.workspace, continue_run)
    message = {"message": page.message}
    accordions = {"about": page.about_accordion, "share": page.share_accordion}
    # What is in the accordion is asked for when it is opened; another file closes it.
    wire_in_browser(page.opened.tick, "showOpened", outputs={**accordions, **message})
    wire_in_browser(page.about_accordion.expand, "lookIntoFile")
    wire(page.about.select, events.look, outputs=message)
    wire(page.share.select, events.pack, outputs=message)
    wire(page.opened.select, events.resume, outputs=message)
    wire_in_browser(page.opened.select, "openOnTrain", outputs={"tabs": context.tabs})


def _draw() -> _Widgets:
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            fragment("library-cards", elem_id="library-cards", selects="open", grid="choose")
        with gr.Column(scale=3, min_width=300):
            opened = fragment("library-opened", *_FILE, elem_id="library-opened")
            message = gr.HTML("", elem_id="library-note")
            with gr.Accordion(
                text.ABOUT, open=False, visible=False, elem_id="library-about-lid"
            ) as about_accordion:
                about = fragment("library-about", *_FILE, elem_id="library-about")
            with gr.Accordion(
                text.SHARE, open=False, visible=False, elem_id="library-share-lid"
            ) as share_accordion:
                share = fragment("library-share", *_FILE, elem_id="library-share")
            fragment("library-log", "open", elem_id="library-log")
    return _Widgets(opened, message, about_accordion, about, share_accordion, share)
