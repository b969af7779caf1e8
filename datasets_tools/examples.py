"""From a folder to the examples in it, and to findings about what could not be used."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_tools import captions
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.formats import FORMAT_NAMES
from datasets_tools.images import IMAGE_SUFFIXES, inspect_image
from datasets_tools.masks import MASK_FOLDER


@dataclass(frozen=True)
class Example:
    """One image with its caption.

    `width` and `height` are those of the upright image. `id` is the fingerprint of the image
    file: it survives moving and renaming, and two identical files in a folder share it.
    """

    path: Path
    caption: str
    width: int
    height: int
    id: str

    @property
    def caption_path(self) -> Path:
        """Where the caption lies, whether or not it exists yet."""
        return captions.caption_path(self.path)


@dataclass(frozen=True)
class Finding:
    """One line of the dataset check: what is wrong, in a sentence with its remedy."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    path: Path | None


def scan_folder(folder: Path) -> tuple[list[Example], list[Finding]]:
    """Return the examples of a folder in natural name order, and findings about the rest.

    Every image is decoded to its end, so an example that is returned can be trained; files that
    have not changed since the last scan are not read again. Hidden files and files that do not
    have the name of an image are ignored, and so are sub-folders, with a warning unless it is the
    one of the masks.

    Raises:
        DatasetError: The folder is missing, cannot be read, or holds no image file at all.
    """
    files, findings = _list_images(folder)
    if not files:
        nested = "".join(f" {finding.message}" for finding in findings)
        raise DatasetError(
            f"The folder {show_name(folder)} contains no images. "
            f"Add {FORMAT_NAMES} files to it.{nested}"
        )
    examples = []
    for path in files:
        try:
            facts = inspect_image(path)
        except DatasetError as error:
            findings.append(Finding("error", "unreadable_image", str(error), path))
            continue
        try:
            caption = captions.read_caption(path)
        except DatasetError as error:
            findings.append(Finding("error", "unreadable_caption", str(error), path))
            caption = ""
        examples.append(Example(path, caption, facts.width, facts.height, facts.id))
    return examples, findings + _find_shared_captions(files)


def natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts image2 before image10, and numbers before letters."""
    parts = [part for part in re.split(r"([0-9]+)", path.stem.casefold()) if part]
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return keys, path.name


def _list_images(folder: Path) -> tuple[list[Path], list[Finding]]:
    """Return the image files of a folder in order, and a warning per sub-folder with images."""
    name = show_name(folder)
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {name}. Check the path, or create the folder.")
    files, findings = [], []
    try:
        for path in sorted(folder.iterdir(), key=natural_order):
            if _is_image_name(path) and path.is_file():
                files.append(path)
            elif path.name != MASK_FOLDER and _is_open_folder(path) and _holds_images(path):
                message = (
                    f"The images in the sub-folder {show_name(path)} are not used. "
                    f"Move them into {name} itself if they belong to the dataset."
                )
                findings.append(Finding("warning", "ignored_subfolder", message, path))
    except OSError as error:
        message = f"The folder {name} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return files, findings


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _is_open_folder(path: Path) -> bool:
    return not path.name.startswith(".") and path.is_dir()


def _holds_images(folder: Path) -> bool:
    try:
        return any(_is_image_name(path) for path in folder.iterdir())
    except OSError:
        return False  # what cannot be looked into is not part of the dataset either


def _find_shared_captions(files: list[Path]) -> list[Finding]:
    """Return a warning for every caption file that two images would share."""
    by_stem: dict[str, list[Path]] = {}
    for path in files:
        by_stem.setdefault(path.stem, []).append(path)
    findings = []
    for same in by_stem.values():
        if len(same) > 1:
            names = " and ".join(show_name(path) for path in same)
            caption = show_name(captions.caption_path(same[0]))
            message = f"{names} share the caption {caption}. Rename one of the images."
            findings.append(Finding("warning", "shared_caption", message, same[-1]))
    return findings
