"""What happens to captions as a whole: values from the browser in, values for the widgets out."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.actions import captions as change
from app.markup import note
from app.paint import Seen, paint
from app.parts.captions import make_about, make_suggesting, make_tags
from app.text import captions as words
from app.views import captions as view
from app.workspace import Workspace, WorkspaceError
from datasets_tools.edits import (
    CaptionChange,
    change_by_adding,
    change_by_removing,
    change_words,
)
from datasets_tools.errors import DatasetError


class CaptionEvents:
    """The events of the row that suggests captions, and of the section that changes them all.

    All of them paint the same parts, in the order in which `show` returns them: seen, suggest,
    cancel, about, progress, section, undo, tags, train, and what the caption box is offered.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self) -> Any:
        """Lists the captioners and chooses one."""
        choices = [(one.title, one.name) for one in view.list_captioners(self.workspace)]
        return gr.update(choices=choices, value=view.choose_captioner(self.workspace) or None)

    def show(self, seen: Seen, dataset: str, bound: str, captioner: str | None) -> list[Any]:
        """Paints how far the captioner is, the tags, and what can be taken back."""
        renewed = view.renew_edition(self.workspace, dataset, bound)
        offered = renewed.to_json() if renewed else gr.skip()
        return [seen, *paint(seen, self._make_parts(dataset, captioner)), offered]

    def suggest(
        self, seen: Seen, dataset: str, bound: str, captioner: str | None, existing: str | None
    ) -> list[Any]:
        """Has captions suggested; returns the refusal, and what `show` returns."""
        told = ""
        try:
            change.start_suggesting(self.workspace, dataset, captioner, existing)
        except WorkspaceError as error:
            told = note(str(error), "error")
        return [told, *self.show(seen, dataset, bound, captioner)]

    def cancel(self, dataset: str) -> None:
        """Ends the captioner; the next look shows it."""
        change.stop_suggesting(self.workspace, dataset)

    def replace(self, old: str | None, new: str | None, *place: Any) -> list[Any]:
        """Replaces words in all captions; returns a sentence, and what `show` returns."""
        return self._change(lambda: change_words(old or "", new or ""), *place)

    def add_last(self, tag: str | None, *place: Any) -> list[Any]:
        """Adds a tag to the end of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_adding(tag or ""), *place)

    def add_first(self, tag: str | None, *place: Any) -> list[Any]:
        """Adds a tag to the beginning of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_adding(tag or "", first=True), *place)

    def remove(self, tag: str | None, *place: Any) -> list[Any]:
        """Takes a tag out of all captions; returns as `replace` does."""
        return self._change(lambda: change_by_removing(tag or ""), *place)

    def take_back(self, seen: Seen, dataset: str, bound: str, captioner: str | None) -> list[Any]:
        """Takes back the last change; returns a sentence, and what `show` returns."""
        try:
            told = note(change.take_back(self.workspace, dataset), "good")
        except WorkspaceError as error:
            told = note(str(error), "error")
        return [told, *self.show(seen, dataset, bound, captioner)]

    def _change(
        self,
        make: Callable[[], CaptionChange],
        seen: Seen,
        dataset: str,
        bound: str,
        captioner: str | None,
    ) -> list[Any]:
        try:
            wanted = make()
            count = change.change_all(self.workspace, dataset, wanted)
            told = note(words.changed(wanted.what, count), "good" if count else "info")
        except (DatasetError, WorkspaceError) as error:
            told = note(str(error), "error")
        return [told, *self.show(seen, dataset, bound, captioner)]

    def _make_parts(self, dataset: str, captioner: str | None) -> dict[str, Any]:
        try:
            found = view.view_captions(self.workspace.find_dataset(dataset))
        except WorkspaceError:
            found = view.CaptionsView()
        chosen = self._find_captioner(captioner)
        work = view.view_suggesting(view.find_suggesting(self.workspace, dataset))
        busy = work.state == "running"
        undo = "" if busy else found.undo
        label = words.SUGGEST
        if chosen is not None and chosen.download:
            label = words.suggest_after_download(chosen.download)
        return {
            "suggest": gr.update(
                value=label, interactive=bool(found.images) and chosen is not None and not busy
            ),
            "cancel": gr.update(visible=busy),
            "about": make_about(chosen, found),
            "progress": make_suggesting(work, undo),
            "section": gr.update(visible=found.images > 0),
            "undo": gr.update(
                value=words.take_back(undo) if undo else words.NOTHING_TO_UNDO,
                interactive=bool(undo),
            ),
            "tags": make_tags(found),
            "train": gr.update(visible=found.images > 0),
        }

    def _find_captioner(self, name: str | None) -> view.CaptionerView | None:
        offered = view.list_captioners(self.workspace)
        return next((one for one in offered if one.name == name), None)

    def take_tag(self, event: gr.EventData) -> str:
        """Puts a tag that was chosen among the counts into the box."""
        return str(getattr(event, "key", ""))
