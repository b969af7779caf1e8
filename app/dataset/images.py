"""The images of a dataset: taking them in, small copies, removing, bringing back."""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.examples import find_example, list_examples, thumbnail_of
from app.core.workspace import (
    MAX_DATASET_BYTES,
    MAX_DATASET_IMAGES,
    MAX_IMAGE_BYTES,
    Workspace,
    WorkspaceError,
)
from app.dataset import text
from datasets_tools.captions import move_to_trash, restore_from_trash
from datasets_tools.disk import remove_empty_folder, remove_quietly
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.images import IMAGE_SUFFIXES, import_image, write_thumbnail

THUMBNAIL_SIDE = 256

# A caption is compared with its revision and written in one step: not while all are changed, and
# not while its image is moved.
CAPTION_LOCK = threading.Lock()
# An image decoded is a hundred times its file: not many of them at once.
_thumbnail_slots = threading.Semaphore(2)


@dataclass(frozen=True)
class Imported:
    """How many images arrived, and a sentence for each that did not."""

    added: int
    known: int
    refused: tuple[str, ...]


def find_folder(workspace: Workspace, dataset: object) -> Path | None:
    """Returns the folder of a dataset; None where there is none of that name."""
    try:
        return workspace.find_dataset(dataset)
    except WorkspaceError:
        return None


def import_uploads(workspace: Workspace, folder: Path, uploads: Sequence[str]) -> Imported:
    """Takes uploaded files into a dataset; each upload is deleted afterwards, whatever it was."""
    root = workspace.uploads_path.resolve()
    added = known = 0
    refused = []
    for name in uploads:
        source = Path(name).resolve()
        if not source.is_relative_to(root):
            refused.append(text.NOT_AN_UPLOAD)
            continue
        before = _list_images(folder)
        try:
            _check_quota(before, source)
            path = import_image(source, folder)
            added, known = (added, known + 1) if path in before else (added + 1, known)
        except (DatasetError, WorkspaceError) as error:
            refused.append(str(error))
        finally:
            remove_quietly(source)
            with contextlib.suppress(OSError):  # the folder that Gradio made for this one file
                remove_empty_folder(source.parent)
    return Imported(added, known, tuple(refused))


def make_thumbnail(workspace: Workspace, folder: Path, name: str) -> Path | None:
    """Returns where the small copy of an image lies, after making it if it is missing.

    It is made when a browser first shows it, so a folder of many new images is shown at once.

    Args:
        workspace: Where small copies lie.
        folder: The dataset.
        name: As `thumbnail_of` names it.

    Returns:
        None where no image of the dataset has that copy, or it cannot be made.
    """
    to = workspace.thumbnails_path / name
    if to.is_file():
        return to
    with _thumbnail_slots:
        example = next((one for one in list_examples(folder) if thumbnail_of(one) == name), None)
        if example is None:
            return None
        try:
            if not to.is_file():
                write_thumbnail(example.path, to, THUMBNAIL_SIDE)
        except DatasetError:
            return None  # the tile shows its name instead; the check names the image
    return to


def remove_image(folder: Path, key: str) -> str:
    """Moves an image and its caption to the dataset's trash and returns its name.

    Raises:
        WorkspaceError: it is gone already, or cannot be moved.
    """
    example = find_example(folder, key)
    if example is None:
        raise WorkspaceError(text.IMAGE_GONE)
    try:
        with CAPTION_LOCK:
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
        with CAPTION_LOCK:
            path = restore_from_trash(folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if path is None:
        raise WorkspaceError(text.TRASH_EMPTY)
    return show_name(path)


def _list_images(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}


def _check_quota(images: set[Path], source: Path) -> None:
    if source.stat().st_size > MAX_IMAGE_BYTES:
        raise WorkspaceError(text.image_too_large(show_name(source), MAX_IMAGE_BYTES))
    if len(images) >= MAX_DATASET_IMAGES:
        raise WorkspaceError(text.too_many_images(show_name(source), MAX_DATASET_IMAGES))
    total = sum(path.stat().st_size for path in images) + source.stat().st_size
    if total > MAX_DATASET_BYTES:
        raise WorkspaceError(text.dataset_too_large(show_name(source), MAX_DATASET_BYTES))
