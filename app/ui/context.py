"""What all pages are handed: the workspace, and the choices that are made on one page for all."""

from dataclasses import dataclass

import gradio as gr

from app.core.workspace import Workspace
from app.ui.choice import Choice


@dataclass(frozen=True)
class PageContext:
    """Handed to every page. Each choice is put into the page (`render`) by the one that owns it."""

    workspace: Workspace
    demo: gr.Blocks
    tabs: gr.Tabs
    dataset: Choice
    base_model: Choice
    run: Choice
