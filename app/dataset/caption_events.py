"""What happens to captions as a whole: values from the browser in, values for the widgets out."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.core.workspace import Workspace, WorkspaceError
from app.dataset import caption_actions as change
from app.dataset import captions_text as words
from app.dataset import suggestions as view
from app.ui.markup import note
from datasets_tools.edits import (
    CaptionChange,
    change_by_adding,
    change_by_removing,
    change_words,
)
from datasets_tools.errors import LorasmithError


class CaptionEvents:
    """The events of the row that suggests captions, and of the section that changes them all.

    Each returns a sentence; `DatasetPainter` paints the parts afterwards.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self) -> Any:
        """Lists the captioners and chooses one."""
        choices = [(one.title, one.name) for one in view.list_captioners(self.workspace)]
        return gr.update(choices=choices, value=view.choose_captioner(self.workspace) or None)

    def suggest(self, dataset: str, captioner: str | None, existing: str | None) -> str:
        """Has captions suggested; returns the refusal, if there is one."""
        try:
            change.start_suggesting(self.workspace, dataset, captioner, existing)
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def cancel(self, dataset: str) -> None:
        """Ends the captioner; the next look shows it."""
        change.stop_suggesting(self.workspace, dataset)

    def replace(self, old: str | None, new: str | None, dataset: str) -> str:
        """Replaces words in all captions; returns what was done, or why not."""
        return self._change(lambda: change_words(old or "", new or ""), dataset)

    def add_last(self, tag: str | None, dataset: str) -> str:
        """Adds a tag to the end of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_adding(tag or ""), dataset)

    def add_first(self, tag: str | None, dataset: str) -> str:
        """Adds a tag to the beginning of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_adding(tag or "", first=True), dataset)

    def remove(self, tag: str | None, dataset: str) -> str:
        """Takes a tag out of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_removing(tag or ""), dataset)

    def take_back(self, dataset: str) -> str:
        """Takes back the last change; returns what was done, or why not."""
        try:
            return note(change.take_back(self.workspace, dataset), "good")
        except WorkspaceError as error:
            return note(str(error), "error")

    def _change(self, make: Callable[[], CaptionChange], dataset: str) -> str:
        try:
            wanted = make()
            count = change.change_all(self.workspace, dataset, wanted)
        except LorasmithError as error:
            return note(str(error), "error")
        return note(words.changed(wanted.what, count), "good" if count else "info")

    def take_tag(self, event: gr.EventData) -> str:
        """Puts a tag that was chosen among the counts into the box."""
        return str(getattr(event, "key", ""))
