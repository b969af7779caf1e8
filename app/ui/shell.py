"""What the pages share: the workspace, the watches, and choices made on one page for another."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.workspace import Workspace
from app.ui.choice import Choice

STATUS_SECONDS = 1.0
FOLDERS_SECONDS = 4.0


@dataclass(frozen=True)
class Shell:
    """Handed to every page. The choices are drawn by the page that owns them.

    `wish` is how one page asks the Train tab for something: "settings" or "continue", and a file.
    `address` holds what the page's address asked for, once that was looked up.
    `backstage` is where the boxes stand that nobody sees (`app/ui/relay.py`).
    """

    workspace: Workspace
    demo: gr.Blocks
    backstage: gr.Column
    dataset: Choice
    base_model: Choice
    run: Choice
    wish: gr.Textbox
    address: gr.Textbox
    runs_watch: gr.HTML
    drawing_watch: gr.HTML
    datasets_watch: gr.HTML
    exports_watch: gr.HTML
    pictures_watch: gr.HTML
    models_watch: gr.HTML
    downloads_watch: gr.HTML
    questions_watch: gr.HTML
    files_watch: gr.HTML


def place(choice: Any) -> None:
    """Draws one of the shared choices here."""
    choice.render()
