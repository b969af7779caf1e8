"""The trash of a dataset: removed images with their captions and masks, and how they come back."""

import contextlib
import re
from pathlib import Path, PurePath

from datasets_tools.disk import remove_empty_folder, remove_file, rename
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.groups import is_group, list_groups, locate
from datasets_tools.sidecars import MASK_FOLDER, Neighbours, caption_path, fold_name

TRASH_FOLDER = ".trash"

_ENTRY_DIGITS = 6


def move_to_trash(image_path: Path, dataset: Path | None = None) -> Path:
    """Move an image with its captions and masks into the folder's trash; return where it is now.

    Every removal has a numbered folder of its own, so nothing in the trash is ever overwritten.

    Args:
        image_path: The image.
        dataset: The folder of the dataset, where the image is in one of its groups.

    Raises:
        DatasetError: The image is gone or cannot be moved; nothing has changed.
    """
    name, folder = show_name(image_path), image_path.parent
    if not image_path.is_file():
        raise DatasetError(f"{name} is not in the dataset any more. Reload the dataset.")
    neighbours = Neighbours(folder)
    files = _list_sidecars(neighbours, image_path.name)
    try:
        entry = _make_trash_entry((dataset or folder) / TRASH_FOLDER)
        if dataset is not None and dataset != folder:
            entry /= folder.name
            entry.mkdir()
        try:
            # Copies first: another image of the same stem may go on using these files.
            for file in files:
                _copy(folder / file, entry / file, f"{file} in the trash")
            rename(image_path, entry / image_path.name)
        except (OSError, DatasetError):
            with contextlib.suppress(OSError):
                _remove_entry(entry, files)
                if is_group(entry.name):
                    remove_empty_folder(entry.parent)
            raise
    except OSError as error:
        raise DatasetError(f"{name} could not be removed: {explain_os_error(error)}") from error
    if not _shares_stem(neighbours, image_path.name):
        for file in files:
            with contextlib.suppress(OSError):  # a caption without an image does no harm
                remove_file(folder / file, missing_ok=True)
    return entry / image_path.name


def restore_from_trash(folder: Path) -> Path | None:
    """Bring back the image that was removed last and return its path; None for an empty trash.

    If its name has been taken since, it comes back under a free one; nothing is overwritten.

    Raises:
        DatasetError: The image cannot be moved; it stays in the trash.
    """
    trash = folder / TRASH_FOLDER
    try:
        for entry in reversed(_list_trash(trash)):
            if (restored := restore_entry(entry)) is not None:
                return restored
    except OSError as error:
        message = f"The last removed image could not be restored: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return None


def restore_entry(entry: Path) -> Path | None:
    """Bring back the image of one entry of the trash; None where there is no image in it.

    Raises:
        OSError: From the system; the image stays in the trash.
        DatasetError: A file beside the image cannot be written; the image stays in the trash.
    """
    image = find_trashed(entry)
    if image is None:
        return None
    target = locate(entry.parent.parent, image.relative_to(entry).as_posix()).parent
    target.mkdir(exist_ok=True)
    return _restore_entry(Neighbours(image.parent), image, target)


def find_trashed(entry: Path) -> Path | None:
    """Return the image in an entry of the trash, which may lie in a group; None without one."""
    for place in (entry, *list_groups(entry)):
        if not place.is_dir():
            continue
        neighbours = Neighbours(place)
        images = [name for name in sorted(neighbours.names) if neighbours.is_image(name)]
        if images:
            return place / images[0]
    return None


def _make_trash_entry(trash: Path) -> Path:
    """Make the next numbered folder in the trash."""
    trash.mkdir(exist_ok=True)
    while True:
        last = _list_trash(trash)[-1:]
        number = int(last[0].name) + 1 if last else 1
        entry = trash / f"{number:0{_ENTRY_DIGITS}d}"
        try:
            entry.mkdir()
        except FileExistsError:
            continue  # someone else took that number in this moment
        return entry


def _list_trash(trash: Path) -> list[Path]:
    """Return the entries of the trash, oldest first."""
    if not trash.is_dir():
        return []
    entries = [path for path in trash.iterdir() if re.fullmatch(r"[0-9]+", path.name)]
    return sorted(entries, key=lambda path: int(path.name))


def _list_sidecars(neighbours: Neighbours, image: str) -> list[str]:
    """Return the captions and masks of an image, as paths below its folder."""
    masks = Neighbours(neighbours.folder / MASK_FOLDER)
    stem = PurePath(image).stem
    return [
        *neighbours.list_captions(image),
        *neighbours.list_masks(image),
        *(f"{MASK_FOLDER}/{name}" for name in masks.names if PurePath(name).stem == stem),
    ]


def _copy(source: Path, target: Path, subject: str) -> None:
    target.parent.mkdir(exist_ok=True)
    save_for_person(target, source.read_bytes(), subject)


def _remove_entry(entry: Path, files: list[str]) -> None:
    for file in files:
        remove_file(entry / file, missing_ok=True)
    if (entry / MASK_FOLDER).is_dir():
        remove_empty_folder(entry / MASK_FOLDER)
    remove_empty_folder(entry)


def _shares_stem(neighbours: Neighbours, image: str) -> bool:
    """Return whether another image may use the same files."""
    stem = fold_name(PurePath(image).stem)
    return any(
        fold_name(PurePath(name).stem) == stem and neighbours.is_image(name)
        for name in neighbours.names
        if name != image
    )


def _restore_entry(neighbours: Neighbours, image: Path, folder: Path) -> Path:
    """Move one trashed image with its captions and masks back and remove the entry."""
    entry, files = neighbours.folder, _list_sidecars(neighbours, image.name)
    captions = neighbours.list_captions(image.name)
    text = (entry / captions[0]).read_bytes() if captions else None
    target, number = folder / image.name, 2
    while not _is_free(target, text) or not _fit(entry, files, image, target):
        target = folder / f"{image.stem}-{number}{image.suffix}"
        number += 1
    for file in files:
        new = _rename_sidecar(file, image, target)
        if not new.exists():
            _copy(entry / file, new, f"{file} of {show_name(image)}")
    rename(image, target)
    with contextlib.suppress(OSError):
        _remove_entry(entry, files)
        if is_group(entry.name):
            remove_empty_folder(entry.parent)
    return target


def _is_free(target: Path, text: bytes | None) -> bool:
    """Return whether an image of a name is neither there nor would get a foreign caption."""
    return not target.exists() and _caption_fits(caption_path(target), text)


def _fit(entry: Path, files: list[str], image: Path, target: Path) -> bool:
    """Return whether the captions and masks of a restored image overwrite nothing."""
    return all(
        _caption_fits(_rename_sidecar(file, image, target), (entry / file).read_bytes())
        for file in files
    )


def _rename_sidecar(file: str, image: Path, target: Path) -> Path:
    """Return where a caption or mask of an image goes when the image gets a name."""
    path = PurePath(file)
    return target.parent / path.with_name(target.stem + path.name[len(image.stem) :])


def _caption_fits(path: Path, text: bytes | None) -> bool:
    """Return whether the caption file is free or already has the restored text."""
    return not path.exists() or (text is not None and path.read_bytes() == text)
