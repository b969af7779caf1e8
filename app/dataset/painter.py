"""Painting the Dataset tab: one event that shows what there is, whatever has happened."""

import json
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr

from app.core import examples as view
from app.core.base_models import view_base_model
from app.core.run_contents import read_resolution
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import captions_text as caption_words
from app.dataset import suggestions as captions_view
from app.dataset import text as words
from app.dataset.captions_html import make_about, make_suggesting, make_tags
from app.dataset.check import view_check
from app.dataset.dataset_actions import make_thumbnails
from app.dataset.editions import Edition, choose_key, is_outdated, open_edition, read_edition
from app.dataset.html import make_check, make_grid, make_picture
from app.ui.markup import Markup, element
from app.ui.paint import Seen, paint
from datasets_tools.errors import DatasetError

# The order in which `DatasetPainter.paint` returns the parts, behind the memory and the offer.
PARTS = (
    "grid", "check", "remove", "undo",
    "suggest", "cancel", "about", "progress", "section", "take_back", "tags", "train",
)  # fmt: skip


class DatasetPainter:
    """Paints the tab from what the browser holds and what lies in the folders.

    Every other event of the tab changes a folder or the browser's choice, and has this one run. It
    is one event, so Gradio never has two of them under way, and one that is asked for meanwhile
    runs afterwards with what the browser holds then: an answer cannot be overtaken by an older one.

    The caption box and the trigger box are not painted. People type into them while an answer is
    under way, so this event *offers*, and the browser decides (`ADOPT_OFFER`).
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def paint(
        self,
        seen: Seen,
        dataset: str | None,
        wanted: str | None,
        bound: str,
        base_model: str,
        captioner: str | None,
    ) -> list[Any]:
        """Returns the memory, the offer and `PARTS`.

        Args:
            seen: What this tab was sent.
            dataset: The one that is chosen.
            wanted: The key of the image that was asked for last, "#", and a text of its own for
                each time that one was; "" where none was.
            bound: The edition in the caption box.
            base_model: The chosen one, whose resolution the check looks at.
            captioner: The chosen one.
        """
        dataset, wanted = dataset or "", wanted or ""
        folder = self._find(dataset)
        tiles = make_thumbnails(self.workspace, folder) if folder else []
        now = read_edition(bound)
        asked = wanted != seen.get("wanted", "")
        wish = wanted.partition("#")[0] if asked else ""
        key = choose_key([tile.key for tile in tiles], wish, now, dataset)
        fresh = open_edition(folder, dataset, key) if folder else Edition()
        # With a serial of its own every answer is news to the browser, which then looks again.
        serial = uuid.uuid4().hex
        offer: dict[str, Any] = {"wanted": wanted, "edition": None, "serial": serial}
        if asked or is_outdated(now, fresh):
            offer |= {
                "edition": asdict(replace(fresh, serial=serial)),
                "picture": _make_picture(fresh, tiles),
                "trigger": view.read_trigger(folder) if folder else "",
            }
        parts = self._make_captions(folder, dataset, captioner)
        mark = f"{dataset} {key} {base_model} {view.folder_signature(folder) if folder else ''}"
        if seen.get("mark") != mark:
            parts |= self._make_shelf(folder, tiles, key, base_model)
        sent = dict(zip(parts, paint(seen, parts), strict=True))
        seen["mark"] = mark
        seen["wanted"] = wanted  # not before: a wish is granted when all of this has worked
        answers = [sent.get(name, gr.skip()) for name in PARTS]
        return [seen, json.dumps(offer, ensure_ascii=False), *answers]

    def _make_shelf(
        self, folder: Path | None, tiles: list[view.Tile], key: str, base_model: str
    ) -> dict[str, Any]:
        return {
            "grid": make_grid(tiles, key),
            "check": self._make_check(folder, base_model) if folder and tiles else "",
            "remove": gr.update(interactive=bool(key)),
            "undo": gr.update(interactive=folder is not None and view.has_trash(folder)),
        }

    def _make_check(self, folder: Path, base_model: str) -> Markup:
        found = view_base_model(self.workspace, base_model)
        models = self.workspace.list_base_models()
        resolution = read_resolution(models.get(base_model), found.family if found else "")
        try:
            return make_check(view_check(folder, view.read_trigger(folder), resolution))
        except DatasetError:  # the last image has gone since the tiles were made
            return Markup("")

    def _make_captions(
        self, folder: Path | None, dataset: str, captioner: str | None
    ) -> dict[str, Any]:
        found = captions_view.view_captions(folder) if folder else captions_view.CaptionsView()
        offered = captions_view.list_captioners(self.workspace)
        chosen = next((one for one in offered if one.name == captioner), None)
        job = captions_view.find_suggesting(self.workspace, dataset)
        work = captions_view.view_suggesting(job)
        busy = work.state == "running"
        undo = "" if busy else found.undo
        label = caption_words.SUGGEST
        if chosen is not None and chosen.download:
            label = caption_words.suggest_after_download(chosen.download)
        return {
            "suggest": gr.update(
                value=label, interactive=bool(found.images) and chosen is not None and not busy
            ),
            "cancel": gr.update(visible=busy),
            "about": make_about(chosen, found),
            "progress": make_suggesting(work, undo),
            "section": gr.update(visible=found.images > 0),
            "take_back": gr.update(
                value=caption_words.take_back(undo) if undo else caption_words.NOTHING_TO_UNDO,
                interactive=bool(undo),
            ),
            "tags": make_tags(found),
            "train": gr.update(visible=found.images > 0),
        }

    def _find(self, dataset: str) -> Path | None:
        try:
            return self.workspace.find_dataset(dataset)
        except WorkspaceError:
            return None


def _make_picture(edition: Edition, tiles: list[view.Tile]) -> Markup:
    tile = next((one for one in tiles if one.key == edition.key), None)
    if tile is None:
        return element("p", words.NO_IMAGE_SELECTED, class_="quiet")
    return make_picture(edition.dataset, tile)
