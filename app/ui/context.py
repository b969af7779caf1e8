"""What all pages are handed: the workspace, and the choices that are made on one page for all."""

from dataclasses import dataclass

import gradio as gr

from app.core.workspace import Workspace
from app.ui.choice import Choice

STATUS_SECONDS = 1.0
FOLDERS_SECONDS = 4.0


@dataclass(frozen=True)
class PageContext:
    """Handed to every page. Each choice is put into the page (`render`) by the one that owns it."""

    workspace: Workspace
    demo: gr.Blocks
    tabs: gr.Tabs
    dataset: Choice
    base_model: Choice
    run: Choice


@dataclass(frozen=True)
class Shell(PageContext):
    """What pages that have not been turned yet still use."""

    backstage: gr.Column
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
