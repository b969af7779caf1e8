"""The line above the tabs: what is being trained, on every tab; and the page's title."""

from typing import Any

import gradio as gr

from app.core.run_views import choose_run, list_run_views
from app.train.html import make_run_bar
from app.ui.paint import Seen, paint
from app.ui.relay import show_when
from app.ui.scripts import FOLLOW_TITLE
from app.ui.shell import Shell


def run_bar(shell: Shell) -> None:
    """Draws the line and keeps it up to date."""
    bar = gr.HTML(make_run_bar(None), js_on_load=FOLLOW_TITLE, elem_id="run-bar")
    seen = gr.State({})

    def show(known: Seen) -> list[Any]:
        view = choose_run(list_run_views(shell.workspace))
        return [known, *paint(known, {"bar": make_run_bar(view)})]

    show_when(shell, "run-bar", [shell.runs_watch.tick], show, [seen], [seen, bar])
