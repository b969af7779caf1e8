"""The images of a dataset: taking them in, small copies, removing, bringing back."""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.examples import find_example, list_examples, show_example, thumbnail_of
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
from datasets_tools.groups import list_groups
from datasets_tools.images import IMAGE_SUFFIXES, encode_copy, write_thumbnail
from datasets_tools.intake import Source, take_in

THUMBNAIL_SIDE = 256
# Between the names of folders and files in an upload's name; Gradio keeps it, where it drops "/".
FOLDER_SIGN = "\u2215"
_WEB_COPY_SIDE = 2048

# A caption is compared with its revision and written in one step: not while all are changed, and
# not while its image is moved.
CAPTION_LOCK = threading.Lock()
# An image decoded is a hundred times its file: not many of them at once.
_thumbnail_slots = threading.Semaphore(2)


@dataclass(frozen=True)
class Imported:
    """What arrived.

    Attributes:
        added: Number of new images.
        known: Number of images that were there.
        captions: Number of captions that came along.
        masks: Number of masks that came along.
        refused: A sentence for each file that cannot be used.
        unused: What else was among the files, in a line per folder.
    """

    added: int
    known: int
    captions: int
    masks: int
    refused: tuple[str, ...]
    unused: tuple[str, ...]


def find_folder(workspace: Workspace, dataset: object) -> Path | None:
    """Returns the folder of a dataset; None where there is none of that name."""
    try:
        return workspace.find_dataset(dataset)
    except WorkspaceError:
        return None


def import_uploads(workspace: Workspace, folder: Path, uploads: Sequence[str]) -> Imported:
    """Takes uploaded files into a dataset; each upload is deleted afterwards, whatever it was.

    Captions, masks and zip archives are taken in, too. A file of a folder that was dropped has the
    folder in its name (`js/folders.js`).
    """
    root = workspace.uploads_path.resolve()
    paths = [Path(name).resolve() for name in uploads]
    inside = [path for path in paths if path.is_relative_to(root)]
    sources = [Source(path, path.name.replace(FOLDER_SIGN, "/")) for path in inside]
    refused = [text.NOT_AN_UPLOAD] * (len(paths) - len(inside))
    try:
        done = take_in(sources, folder, lambda source: _check_quota(_list_images(folder), source))
    finally:
        for path in inside:
            remove_quietly(path)
            with contextlib.suppress(OSError):  # the folder that Gradio made for this one file
                remove_empty_folder(path.parent)
    return Imported(
        added=len(done.images),
        known=done.known,
        captions=done.captions,
        masks=done.masks,
        refused=(*refused, *(line.replace(FOLDER_SIGN, "/") for line in done.refused)),
        unused=tuple(done.unused),
    )


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


def make_web_copy(path: Path) -> bytes | None:
    """Returns an image of a format that browsers do not show as WebP; None if it cannot be read."""
    with _thumbnail_slots:
        try:
            return encode_copy(path, _WEB_COPY_SIDE)
        except DatasetError:
            return None


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
            move_to_trash(example.path, folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    return show_example(example)


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
    files = (path for place in (folder, *list_groups(folder)) for path in place.iterdir())
    return {path for path in files if path.suffix.lower() in IMAGE_SUFFIXES}


def _check_quota(images: set[Path], source: Path) -> None:
    if source.stat().st_size > MAX_IMAGE_BYTES:
        raise WorkspaceError(text.image_too_large(show_name(source), MAX_IMAGE_BYTES))
    if len(images) >= MAX_DATASET_IMAGES:
        raise WorkspaceError(text.too_many_images(show_name(source), MAX_DATASET_IMAGES))
    total = sum(path.stat().st_size for path in images) + source.stat().st_size
    if total > MAX_DATASET_BYTES:
        raise WorkspaceError(text.dataset_too_large(show_name(source), MAX_DATASET_BYTES))
