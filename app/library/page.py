"""The Library tab: what was trained or brought, to look into, to download and to continue."""

from collections.abc import Callable

import gradio as gr

from app.library import text
from app.library.events import ContinueRun, LibraryEvents
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.markup import make_skeleton
from app.ui.wire import wire, wire_in_browser

_FILE = ("open", "library_file")  # what is opened, and which of its files is chosen


def build_library_page(
    context: PageContext, build_combine: Callable[[PageContext], None], continue_run: ContinueRun
) -> None:
    """Builds the tab and wires it.

    Args:
        context: What all pages are given.
        build_combine: Builds the section where files are combined.
        continue_run: Starts the trainer on a run again.
    """
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            fragment(
                "library-cards", elem_id="library-cards", selects="open", grid="choose",
                placeholder=make_skeleton(4),
            )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            opened = fragment("library-opened", *_FILE, elem_id="library-opened")
            message = {"message": gr.HTML("", elem_id="library-note")}
            about_accordion = gr.Accordion(
                text.ABOUT, open=False, visible=False, elem_id="library-about-lid"
            )
            with about_accordion:
                about = fragment("library-about", *_FILE, elem_id="library-about")
            share_accordion = gr.Accordion(
                text.SHARE, open=False, visible=False, elem_id="library-share-lid"
            )
            with share_accordion:
                share = fragment("library-share", *_FILE, elem_id="library-share")
            fragment("library-log", "open", elem_id="library-log")
    build_combine(context)
    events = LibraryEvents(context.workspace, continue_run)
    accordions = {"about": about_accordion, "share": share_accordion}
    # What is in the accordion is fetched when it is opened; another file closes it.
    wire_in_browser(opened.tick, "showOpened", outputs={**accordions, **message})
    wire_in_browser(about_accordion.expand, "lookIntoFile")
    wire(about.select, events.look, outputs=message)
    wire(share.select, events.pack, outputs=message)
    wire(opened.select, events.resume, outputs=message)
    wire_in_browser(opened.select, "openOnTrain", outputs={"tabs": context.tabs})
