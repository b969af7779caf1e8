"""Changes to a dataset: taking in images, saving captions, removing and bringing back."""

import contextlib
import json
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.core import text as folders_text
from app.core.examples import TRIGGER_FILE, Tile, find_example, thumbnail_of, view_tiles
from app.core.workspace import (
    MAX_DATASET_BYTES,
    MAX_DATASET_IMAGES,
    MAX_IMAGE_BYTES,
    Workspace,
    WorkspaceError,
)
from app.dataset import text as dataset_text
from datasets_tools.captions import (
    move_to_trash,
    normalise_caption,
    read_caption,
    restore_from_trash,
    revision_of,
    write_caption,
)
from datasets_tools.errors import DatasetError, LorasmithError, show_name
from datasets_tools.files import write_atomically
from datasets_tools.images import IMAGE_SUFFIXES, import_image, write_thumbnail

THUMBNAIL_SIDE = 256
_MAX_TRIGGER = 200

# Leaving the caption box for a button that changes all captions saves the one and changes the
# others at once; with the lock the change begins when the caption is saved, and finds it.
CAPTION_LOCK = threading.Lock()


@dataclass(frozen=True)
class SavedCaption:
    """How saving went, and the revision that the next edit builds on."""

    outcome: Literal["saved", "unchanged", "conflict", "failed"]
    message: str
    revision: str


@dataclass(frozen=True)
class Imported:
    """How many images arrived, and a sentence for each that did not."""

    added: int
    known: int
    refused: tuple[str, ...]


def import_uploads(workspace: Workspace, folder: Path, uploads: Sequence[str]) -> Imported:
    """Takes uploaded files into a dataset; each upload is deleted afterwards, whatever it was."""
    root = workspace.uploads_path.resolve()
    added = known = 0
    refused = []
    for name in uploads:
        source = Path(name).resolve()
        if not source.is_relative_to(root):
            refused.append(dataset_text.NOT_AN_UPLOAD)
            continue
        before = _list_images(folder)
        try:
            _check_quota(before, source)
            path = import_image(source, folder)
            added, known = (added, known + 1) if path in before else (added + 1, known)
        except LorasmithError as error:
            refused.append(str(error))
        finally:
            source.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the folder that Gradio made for this one file
                source.parent.rmdir()
    return Imported(added, known, tuple(refused))


def make_thumbnails(workspace: Workspace, folder: Path) -> list[Tile]:
    """Returns the tiles of a dataset after making the small copies that are missing."""
    tiles = view_tiles(folder)
    for tile in tiles:
        to = workspace.thumbnails_path / tile.thumbnail
        if to.is_file():
            continue
        example = find_example(folder, tile.key)
        if example is not None and thumbnail_of(example) == tile.thumbnail:
            try:
                write_thumbnail(example.path, to, THUMBNAIL_SIDE)
            except DatasetError:
                continue  # the tile shows its name instead; the check names the image
    return tiles


def save_caption(
    folder: Path, key: str, revision: str, caption: str, suggested: Collection[str] = ()
) -> SavedCaption:
    """Saves a caption if nobody has changed it since `revision`.

    Args:
        folder: The dataset.
        key: Of the example.
        revision: What the text was made from.
        caption: The text.
        suggested: Captions by a captioner; a text that was typed meanwhile replaces them.
    """
    example = find_example(folder, key)
    if example is None:
        return SavedCaption("failed", dataset_text.IMAGE_GONE, revision)
    name = show_name(example.path)
    try:
        with CAPTION_LOCK:
            now = read_caption(example.path)
            if now == normalise_caption(caption):
                return SavedCaption("unchanged", "", revision_of(now))
            if revision_of(now) != revision and now not in suggested:
                told = dataset_text.caption_conflict(name, caption)
                return SavedCaption("conflict", told, revision)
            write_caption(example.path, caption)
    except DatasetError as error:
        return SavedCaption("failed", str(error), revision)
    return SavedCaption("saved", dataset_text.caption_saved(name), revision_of(caption))


def remove_image(folder: Path, key: str) -> str:
    """Moves an image and its caption to the dataset's trash and returns its name.

    Raises:
        WorkspaceError: it is gone already, or cannot be moved.
    """
    example = find_example(folder, key)
    if example is None:
        raise WorkspaceError(dataset_text.IMAGE_GONE)
    try:
        move_to_trash(example.path)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    return show_name(example.path)


def undo_remove(folder: Path) -> str:
    """Brings back the image that was removed last and returns its name.

    Raises:
        WorkspaceError: there is nothing to bring back, or it cannot be moved.
    """
    try:
        path = restore_from_trash(folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if path is None:
        raise WorkspaceError(dataset_text.TRASH_EMPTY)
    return show_name(path)


def write_trigger(folder: Path, trigger: str) -> str:
    """Keeps the dataset's trigger word and returns it as it was kept.

    Raises:
        WorkspaceError: it is too long or cannot be written.
    """
    plain = normalise_caption(trigger)
    if len(plain) > _MAX_TRIGGER:
        raise WorkspaceError(dataset_text.trigger_too_long(_MAX_TRIGGER))
    try:
        content = json.dumps({"trigger": plain}, ensure_ascii=False)
        write_atomically(folder / TRIGGER_FILE, content)
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_write(str(error.strerror or error))) from error
    return plain


def _list_images(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}


def _check_quota(images: set[Path], source: Path) -> None:
    if source.stat().st_size > MAX_IMAGE_BYTES:
        raise WorkspaceError(dataset_text.image_too_large(show_name(source), MAX_IMAGE_BYTES))
    if len(images) >= MAX_DATASET_IMAGES:
        raise WorkspaceError(dataset_text.too_many_images(show_name(source), MAX_DATASET_IMAGES))
    total = sum(path.stat().st_size for path in images) + source.stat().st_size
    if total > MAX_DATASET_BYTES:
        raise WorkspaceError(dataset_text.dataset_too_large(show_name(source), MAX_DATASET_BYTES))
