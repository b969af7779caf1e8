"""What happens on the Dataset tab: values from the browser in, values for the widgets out."""

from dataclasses import replace
from typing import Any

import gradio as gr

from app.actions import datasets as change
from app.markup import Markup, element, join, note
from app.paint import Seen, paint
from app.parts.dataset import make_check, make_grid, make_picture
from app.text import dataset as words
from app.views import dataset as view
from app.views.base_models import view_base_model
from app.views.captions import find_suggesting, list_suggested
from app.views.train import read_resolution
from app.workspace import Workspace, WorkspaceError

_FIRST_DATASET = "my-dataset"


class DatasetEvents:
    """The tab's events. An example is known to the browser by its key and nothing else.

    `bound` is the edition that is in the caption box. It travels with the text in the same message,
    so a caption can only reach the image it was read from. Only the browser puts an edition into
    the box (`ADOPT_OFFER`): the server offers one, and cannot know what is being typed meanwhile.
    A caption that something else has changed is offered by `CaptionEvents` (`ADOPT_RENEWED`).
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_dataset(self, dataset: str, bound: str, base_model: str) -> list[Any]:
        """Shows a dataset, its first image selected, unless an image of it is selected already."""
        folder = self._find(dataset)
        tiles = view.view_tiles(folder) if folder else []
        key = tiles[0].key if tiles else ""
        trigger = view.read_trigger(folder) if folder else ""
        shown = gr.update(value=trigger, interactive=folder is not None)
        edition = view.read_edition(bound)
        if edition.dataset == dataset and any(tile.key == edition.key for tile in tiles):
            return [shown, *[gr.skip()] * 8]
        return [shown, *self._show(dataset, key), *self._shelf(dataset, key, base_model)]

    def create(self, name: str) -> list[Any]:
        """Makes a dataset and chooses it."""
        try:
            made = self.workspace.create_dataset(name)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip(), gr.skip()]
        choices = self.workspace.list_datasets()
        told = note(words.dataset_made(made), "good")
        return [told, "", gr.update(choices=choices, value=made)]

    def take_in(
        self, uploads: list[str] | None, dataset: str, bound: str, base_model: str
    ) -> list[Any]:
        """Takes uploaded files into the dataset; makes one if there is none."""
        try:
            if not dataset:
                datasets = self.workspace.list_datasets()
                known = _FIRST_DATASET in datasets
                dataset = _FIRST_DATASET if known else self.workspace.create_dataset(_FIRST_DATASET)
            folder = self.workspace.find_dataset(dataset)
            done = change.import_uploads(self.workspace, folder, uploads or [])
        except (WorkspaceError, OSError) as error:
            return [note(str(error), "error"), None, *[gr.skip()] * 9]
        message = words.imported(done.added, done.known)
        told = note(message, "good" if done.added or done.known else "info")
        if done.refused:
            lines = [element("li", line) for line in done.refused]
            inner = join(words.refused(len(done.refused)), element("ul", *lines))
            told = join(told, element("div", inner, class_="note note-error", role="alert"))
        key = view.read_edition(bound).key
        key = key or next((tile.key for tile in view.view_tiles(folder)), "")
        choices = gr.update(choices=self.workspace.list_datasets(), value=dataset)
        return [
            told, None, choices,
            *self._show(dataset, key), *self._shelf(dataset, key, base_model),
        ]  # fmt: skip

    def select(self, dataset: str, event: gr.EventData) -> list[Any]:
        """Shows an example large, with its caption."""
        key = str(getattr(event, "key", ""))
        chosen = self._show(dataset, key)
        folder = self._find(dataset)
        tiles = change.make_thumbnails(self.workspace, folder) if folder else []
        # The note about the image that was left stays: it may hold a text that was not saved.
        chosen[3] = gr.skip()
        found = any(tile.key == key for tile in tiles)
        return [*chosen, make_grid(tiles, key), gr.update(interactive=found)]

    def save_caption(self, bound: str, caption: str) -> list[Any]:
        """Saves the caption of the image that it was read from."""
        edition = view.read_edition(bound)
        folder = self._find(edition.dataset)
        if folder is None or not edition.key:
            return [gr.skip(), gr.skip()]
        # Nobody has typed, or what was typed is in the note already: there is nothing to save.
        if caption == edition.caption:
            return [gr.skip(), gr.skip()]
        suggested = list_suggested(find_suggesting(self.workspace, edition.dataset))
        done = change.save_caption(folder, edition.key, edition.revision, caption, suggested)
        kind = {"saved": "good", "unchanged": "info"}.get(done.outcome, "error")
        # After a conflict the note shows the text, so choosing the image again may replace it.
        if done.outcome != "failed":
            edition = replace(edition, revision=done.revision, caption=caption)
        return [edition.to_json(), note(done.message, kind)]

    def remove(self, dataset: str, bound: str, base_model: str) -> list[Any]:
        """Moves the selected image to the trash."""
        key = view.read_edition(bound).key
        try:
            folder = self.workspace.find_dataset(dataset)
            keys = [tile.key for tile in view.view_tiles(folder)]
            name = change.remove_image(folder, key)
        except WorkspaceError as error:
            return [note(str(error), "error"), *[gr.skip()] * 8]
        place = keys.index(key)
        left = keys[:place] + keys[place + 1 :]
        nearest = left[min(place, len(left) - 1)] if left else ""
        return [
            note(words.image_removed(name), "good"),
            *self._show(dataset, nearest),
            *self._shelf(dataset, nearest, base_model),
        ]

    def undo(self, dataset: str, bound: str, base_model: str) -> list[Any]:
        """Brings back the image that was removed last."""
        try:
            folder = self.workspace.find_dataset(dataset)
            name = change.undo_remove(folder)
        except WorkspaceError as error:
            return [note(str(error), "error"), *[gr.skip()] * 8]
        keys = [tile.key for tile in view.view_tiles(folder) if tile.name == name]
        key = keys[0] if keys else view.read_edition(bound).key
        return [
            note(words.image_restored(name), "good"),
            *self._show(dataset, key),
            *self._shelf(dataset, key, base_model),
        ]

    def keep_trigger(self, trigger: str, dataset: str, base_model: str) -> list[Any]:
        """Keeps the trigger word."""
        folder = self._find(dataset)
        if folder is None:
            return [gr.skip()] * 3
        if trigger == view.read_trigger(folder):
            return [gr.skip()] * 3
        try:
            kept = change.write_trigger(folder, trigger)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip(), gr.skip()]
        return [note(words.TRIGGER_SAVED, "good"), kept, self._check(folder, base_model)]

    def refresh(self, seen: Seen, dataset: str, bound: str, base_model: str) -> list[Any]:
        """Paints the grid again when the folder has changed."""
        folder = self._find(dataset)
        mark = f"{dataset} {base_model} {view.folder_signature(folder) if folder else ''}"
        if seen.get("mark") == mark:
            return [gr.skip()] * 5
        seen["mark"] = mark
        names = ("grid", "check", "remove", "undo")
        shelf = self.show_shelf(dataset, bound, base_model)
        parts = dict(zip(names, shelf, strict=True))
        return [seen, *paint(seen, parts)]

    def show_shelf(self, dataset: str, bound: str, base_model: str) -> list[Any]:
        """Returns grid, check and the state of the two buttons."""
        return self._shelf(dataset, view.read_edition(bound).key, base_model)

    def _shelf(self, dataset: str, key: str, base_model: str) -> list[Any]:
        folder = self._find(dataset)
        if folder is None:
            return [element("p", words.DATASET_EMPTY, class_="quiet"), "",
                    gr.update(interactive=False), gr.update(interactive=False)]  # fmt: skip
        tiles = change.make_thumbnails(self.workspace, folder)
        return [
            make_grid(tiles, key),
            self._check(folder, base_model) if tiles else "",
            gr.update(interactive=any(tile.key == key for tile in tiles)),
            gr.update(interactive=view.has_trash(folder)),
        ]

    def _find(self, dataset: str) -> Any:
        try:
            return self.workspace.find_dataset(dataset)
        except WorkspaceError:
            return None

    def _show(self, dataset: str, key: str) -> list[Any]:
        folder = self._find(dataset)
        chosen = view.view_selected(folder, key) if folder else None
        if chosen is None:
            empty = element("p", words.NO_IMAGE_SELECTED, class_="quiet")
            return [empty, gr.update(interactive=False), view.Edition().to_json(), ""]
        tile = chosen.tile
        edition = view.Edition(dataset, key, chosen.revision, tile.caption)
        return [make_picture(dataset, tile), gr.update(interactive=True), edition.to_json(), ""]

    def _check(self, folder: Any, base_model: str) -> Markup:
        found = view_base_model(self.workspace, base_model)
        models = self.workspace.list_base_models()
        resolution = read_resolution(models.get(base_model), found.family if found else "")
        card = view.view_check(folder, view.read_trigger(folder), resolution)
        return make_check(card)
