"""What happens on the Dataset tab: values from the browser in, sentences for the page out.

What is seen of it afterwards is fetched by the fragments. Captions and trigger words are saved by
the editor (`js/captions.js`) through routes of their own.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.core.workspace import Workspace, WorkspaceError
from app.dataset import captions, checking, folders, images, suggestions, text
from app.ui.markup import element, join, note
from datasets_tools.edits import CaptionChange, change_by_adding, change_by_removing, change_words
from datasets_tools.errors import DatasetError
from datasets_tools.prompt_syntax import change_by_cleaning

_FIRST_DATASET = "my-dataset"

Changes = dict[str, Any]


class DatasetEvents:
    """The tab's events. An image is known to the browser by its key and nothing else."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def create(self, name: str | None) -> Changes:
        """Makes a dataset and chooses it."""
        try:
            made = self.workspace.create_dataset(name or "")
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        choices = self.workspace.list_datasets()
        return {
            "message": note(text.dataset_made(made), "good"),
            "name": "",
            "dataset": gr.update(choices=choices, value=made),
        }

    def take_in(self, uploads: list[str] | None, dataset: str | None) -> Changes:
        """Takes uploaded files into the chosen dataset; makes one if there is none."""
        chosen = dataset or ""
        try:
            if not chosen:
                datasets = self.workspace.list_datasets()
                known = _FIRST_DATASET in datasets
                chosen = _FIRST_DATASET if known else self.workspace.create_dataset(_FIRST_DATASET)
            folder = self.workspace.find_dataset(chosen)
            done = images.import_uploads(self.workspace, folder, uploads or [])
        except (WorkspaceError, OSError) as error:
            return {"message": note(str(error), "error"), "uploads": None}
        line = text.imported(done.added, done.known, done.captions, done.masks)
        arrived = done.added or done.known or done.captions
        message = join(
            note(line, "good" if arrived else "info"),
            *(note(unused, "warning") for unused in done.unused),
        )
        if done.refused:
            lines = [element("li", line) for line in done.refused]
            inner = join(text.refused(len(done.refused)), element("ul", *lines))
            message = join(message, element("div", inner, class_="note note-error", role="alert"))
        changes: Changes = {"message": message, "uploads": None}
        if not dataset:  # else another one may have been chosen while the files were taken in
            choices = self.workspace.list_datasets()
            changes["dataset"] = gr.update(choices=choices, value=chosen)
        return changes

    def change_images(self, event: gr.EventData) -> Changes:
        """Removes the image whose button was shown, or brings back the one removed last.

        The browser chooses its neighbour, or the one that came back (`js/captions.js`).
        """
        pressed = _read(event, "key")
        try:
            folder = self.workspace.find_dataset(_read(event, "dataset"))
            if pressed == "remove":
                line = text.image_removed(images.remove_image(folder, _read(event, "image")))
            elif pressed == "undo":
                line = text.image_restored(images.undo_remove(folder))
            else:
                return {}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": note(line, "good")}

    def change_folders(self, event: gr.EventData) -> Changes:
        """Gives a folder of the dataset that was shown other repeats."""
        try:
            folders.change_repeats(self.workspace, _read(event, "dataset"), _read(event, "key"))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def fix(self, event: gr.EventData) -> Changes:
        """Carries out the remedy of the finding whose button was pressed, or undoes the last."""
        pressed = _read(event, "key")
        params = {name: _read(event, name) for name in ("dataset", "base_model")}
        try:
            if pressed == "fix":
                line = checking.fix(self.workspace, params, _read(event, "code"))
            elif pressed == "undo-fix":
                line = checking.undo_last_fix(self.workspace, params["dataset"])
            else:
                return {}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": note(line, "good")}

    def list_captioners(self) -> Changes:
        """Lists the captioners that there are now: one may have been downloaded since the start."""
        return {"captioner": gr.update(choices=suggestions.list_choices(self.workspace))}

    def suggest(self, event: gr.EventData, captioner: str | None, existing: str | None) -> Changes:
        """Has captions suggested for the dataset that was shown, or ends that."""
        pressed, dataset = _read(event, "key"), _read(event, "dataset")
        if pressed == "cancel":
            suggestions.stop_suggesting(self.workspace, dataset)
        if pressed != "suggest":
            return {}
        try:
            suggestions.start_suggesting(self.workspace, dataset, captioner, existing)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def replace(self, dataset: str | None, old: str | None, new: str | None) -> Changes:
        """Replaces words in all captions."""
        return self._change(dataset, lambda: change_words(old or "", new or ""))

    def add_last(self, dataset: str | None, tag: str | None) -> Changes:
        """Adds a tag to the end of all captions."""
        return self._change(dataset, lambda: change_by_adding(tag or ""))

    def add_first(self, dataset: str | None, tag: str | None) -> Changes:
        """Adds a tag to the beginning of all captions."""
        return self._change(dataset, lambda: change_by_adding(tag or "", first=True))

    def remove_tag(self, dataset: str | None, tag: str | None) -> Changes:
        """Removes a tag from all captions."""
        return self._change(dataset, lambda: change_by_removing(tag or ""))

    def clean(self, dataset: str | None) -> Changes:
        """Takes prompt syntax out of all captions."""
        return self._change(dataset, change_by_cleaning)

    def undo(self, event: gr.EventData) -> Changes:
        """Undoes the last change of many captions in the dataset that was shown."""
        try:
            line = captions.undo_last_change(self.workspace, _read(event, "dataset"))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": note(line, "good")}

    def _change(self, dataset: str | None, make: Callable[[], CaptionChange]) -> Changes:
        try:
            change = make()
            count = captions.change_all(self.workspace, dataset, change)
        except (DatasetError, WorkspaceError) as error:
            return {"message": note(str(error), "error")}
        return {"message": note(text.changed(change.what, count), "good" if count else "info")}


def _read(event: gr.EventData, name: str) -> str:
    """Returns a value of a press; it comes from a browser and may be anything."""
    return str(getattr(event, name, "") or "")
