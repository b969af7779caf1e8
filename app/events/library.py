"""What happens on the Library tab: values from the browser in, values for the widgets out."""

from typing import Any

import gradio as gr

from app.actions import training
from app.markup import element, note
from app.paint import Seen, paint
from app.parts.library import make_cards, make_download, make_facts, make_log_box
from app.text import library as words
from app.views import library as view
from app.workspace import Workspace, WorkspaceError


class LibraryEvents:
    """The tab's events. A run is known to the browser by its id."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self, request: gr.Request) -> str:
        """Returns the run that the page's address asks for."""
        return str(request.query_params.get("open", ""))

    def select(self, event: gr.EventData) -> str:
        """Returns the id of the card that was chosen."""
        return str(getattr(event, "key", ""))

    def show(self, seen: Seen, opened: str) -> list[Any]:
        """Paints the cards and the opened run."""
        cards = view.view_cards(self.workspace)
        try:
            run = view.view_opened(self.workspace.find_run(opened))
        except WorkspaceError:
            run = None
        parts: dict[str, Any] = {"cards": make_cards(cards, opened)}
        hidden = gr.update(visible=False)
        if run is None:
            hint = element("p", words.LIBRARY_HINT, class_="quiet") if cards else ""
            parts |= {"facts": hint, "trigger": hidden, "syntax": hidden, "download": ""}
            parts |= {"resume": hidden, "log": ""}
            return [seen, *paint(seen, parts)]
        parts |= {
            "facts": make_facts(run),
            "trigger": gr.update(value=run.trigger, visible=bool(run.trigger)),
            "syntax": gr.update(value=run.syntax, visible=bool(run.syntax)),
            "download": make_download(run),
            "resume": gr.update(visible=run.view.can_resume),
            "log": make_log_box(run),
        }
        return [seen, *paint(seen, parts)]

    def resume(self, opened: str) -> Any:
        """Starts the trainer on the opened run again."""
        try:
            run = self.workspace.find_run(opened)
            return note(training.continue_run(self.workspace, run), "good")
        except WorkspaceError as error:
            return note(str(error), "error")
