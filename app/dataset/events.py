"""What happens on the Dataset tab: values from the browser in, a sentence for the widgets out.

What is seen of it afterwards is painted by `DatasetPainter`, which is asked to run when one of
these has changed something.
"""

import json
import uuid
from dataclasses import replace
from typing import Any

import gradio as gr

from app.core import examples as view
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import dataset_actions as change
from app.dataset import text as words
from app.dataset.editions import Edition, read_edition
from app.dataset.suggestions import find_suggesting, list_suggested
from app.ui.markup import element, join, note
from datasets_tools.captions import normalise_caption

_FIRST_DATASET = "my-dataset"
_KINDS = {"saved": "good", "unchanged": "info", "conflict": "error", "failed": "error"}


class DatasetEvents:
    """The tab's events. An example is known to the browser by its key and nothing else.

    `bound` is the edition that is in the caption box. It travels with the text in the same message,
    so a caption can only reach the image it was read from.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def create(self, name: str) -> list[Any]:
        """Makes a dataset and chooses it."""
        try:
            made = self.workspace.create_dataset(name)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip(), gr.skip()]
        choices = self.workspace.list_datasets()
        told = note(words.dataset_made(made), "good")
        return [told, "", gr.update(choices=choices, value=made)]

    def take_in(self, uploads: list[str] | None, chosen: str | None) -> list[Any]:
        """Takes uploaded files into the chosen dataset; makes one if there is none."""
        dataset = chosen or ""
        try:
            if not dataset:
                datasets = self.workspace.list_datasets()
                known = _FIRST_DATASET in datasets
                dataset = _FIRST_DATASET if known else self.workspace.create_dataset(_FIRST_DATASET)
            folder = self.workspace.find_dataset(dataset)
            done = change.import_uploads(self.workspace, folder, uploads or [])
        except (WorkspaceError, OSError) as error:
            return [note(str(error), "error"), None, gr.skip()]
        message = words.imported(done.added, done.known)
        told = note(message, "good" if done.added or done.known else "info")
        if done.refused:
            lines = [element("li", line) for line in done.refused]
            inner = join(words.refused(len(done.refused)), element("ul", *lines))
            told = join(told, element("div", inner, class_="note note-error", role="alert"))
        if chosen:  # another one may have been chosen while the files were taken in
            return [told, None, gr.skip()]
        return [told, None, gr.update(choices=self.workspace.list_datasets(), value=dataset)]

    def save_caption(self, bound: str, caption: str) -> list[Any]:
        """Saves the caption of the image that it was read from; returns edition and note."""
        edition, done = self._save(read_edition(bound), caption)
        if done is None:
            return [gr.skip(), gr.skip()]
        kept = gr.skip() if done.outcome == "failed" else edition.to_json()
        return [kept, note(done.message, _KINDS[done.outcome])]

    def save_left(self, left: str) -> list[Any]:
        """Saves a text that is not in the caption box any more; returns as `save_caption` does."""
        told = json.loads(left or "{}")
        caption = str(told.get("caption", ""))
        edition, done = self._save(read_edition(told.get("bound")), caption)
        if done is None:
            return [gr.skip(), gr.skip()]
        if done.outcome == "failed":
            return [gr.skip(), note(words.caption_lost(done.message, caption), "error")]
        # Leaving the box has saved it as well: its note says more than "unchanged" would.
        if done.outcome == "unchanged":
            return [edition.to_json(), gr.skip()]
        return [edition.to_json(), note(done.message, _KINDS[done.outcome])]

    def _save(self, edition: Edition, caption: str) -> tuple[Edition, change.SavedCaption | None]:
        # Nobody has typed, or what was typed is in the note already: there is nothing to save.
        if not edition.key or caption == edition.caption:
            return edition, None
        try:
            folder = self.workspace.find_dataset(edition.dataset)
        except WorkspaceError as error:
            return edition, change.SavedCaption("failed", str(error), edition.revision)
        suggested = list_suggested(find_suggesting(self.workspace, edition.dataset))
        done = change.save_caption(folder, edition.key, edition.revision, caption, suggested)
        # After a conflict the note shows the text, so choosing the image again may replace it.
        return replace(edition, revision=done.revision, caption=caption), done

    def remove(self, dataset: str, bound: str, wanted: str) -> list[Any]:
        """Moves the selected image to the trash, and asks for its neighbour.

        The browser does so if no other image was asked for meanwhile (`ADOPT_IF_UNTOUCHED`).
        """
        key = read_edition(bound).key
        try:
            folder = self.workspace.find_dataset(dataset)
            keys = [tile.key for tile in view.view_tiles(folder)]
            name = change.remove_image(folder, key)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip()]
        place = keys.index(key)
        left = keys[:place] + keys[place + 1 :]
        nearest = left[min(place, len(left) - 1)] if left else ""
        return [note(words.image_removed(name), "good"), _ask_for(nearest, wanted)]

    def undo(self, dataset: str, wanted: str) -> list[Any]:
        """Brings back the image that was removed last, and asks for it as `remove` does."""
        try:
            folder = self.workspace.find_dataset(dataset)
            name = change.undo_remove(folder)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip()]
        keys = [tile.key for tile in view.view_tiles(folder) if tile.name == name]
        return [note(words.image_restored(name), "good"), _ask_for(keys[0] if keys else "", wanted)]

    def keep_trigger(self, trigger: str, bound: str) -> Any:
        """Keeps the trigger word of the dataset that it was typed for."""
        dataset = read_edition(bound).dataset
        if not dataset:
            return gr.skip()
        try:
            folder = self.workspace.find_dataset(dataset)
            if normalise_caption(trigger) == view.read_trigger(folder):
                return gr.skip()
            change.write_trigger(folder, trigger)
        except WorkspaceError as error:
            return note(str(error), "error")
        return note(words.TRIGGER_SAVED, "good")


def _ask_for(key: str, was: str) -> str:
    return json.dumps({"was": [was], "found": [f"{key}#{uuid.uuid4().hex}"]})
