"""Taking images into a dataset: encoded anew, under a harmless name, each once."""

import os
import re
import threading
import unicodedata
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from datasets_tools.decode import open_image
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.formats import IMAGE_SUFFIXES
from datasets_tools.images import (
    FileState,
    digest_pixels,
    encode_image,
    make_folder,
    pixel_digest,
    read_image,
    read_size,
    read_state,
)
from datasets_tools.names import change_name

_ENDINGS = tuple(IMAGE_SUFFIXES)
_LONGEST_STEM = 60
_import_lock = threading.Lock()  # two uploads at once must not choose the same free name


def import_image(source: Path, folder: Path) -> Path:
    """Take an uploaded image into a dataset folder and return where it lies.

    The copy is encoded anew, so nothing of the upload but its pixels arrives: no EXIF, no place,
    no hidden data. A JPEG stays a JPEG of high quality, as a photograph in PNG is four times the
    size; everything else becomes PNG. The file name is ours, made of the letters and digits of
    the source's. An image that the folder already holds is not added a second time.

    Raises:
        DatasetError: The image cannot be used or cannot be written; nothing is left behind.
    """
    return import_new_image(source, folder, source.stem)[0]


def import_new_image(source: Path, folder: Path, stem: str) -> tuple[Path, bool]:
    """Do what `import_image` does, for a source of another name; also return whether it is new.

    Raises:
        DatasetError: As for `import_image`.
    """
    image = read_image(source)
    with open_image(source) as header:
        kind, suffix = ("JPEG", ".jpg") if header.format in ("JPEG", "MPO") else ("PNG", ".png")
    data = encode_image(image, kind)
    digests = {digest_pixels(image)}
    if kind == "JPEG":  # encoding has changed the pixels a little; the folder may hold either
        with Image.open(BytesIO(data)) as encoded:
            digests.add(digest_pixels(encoded.convert("RGB")))
    make_folder(folder)
    with _import_lock:
        existing = _find_image(folder, image.size, digests)
        if existing is not None:
            return existing, False
        path = folder / f"{_choose_stem(stem, folder)}{suffix}"
        save_for_person(path, data, f"The image {show_name(source)}")
    return path, True


@lru_cache(maxsize=16384)
def _read_size(path: Path, state: FileState) -> tuple[int, int]:  # noqa: ARG001 - state is the cache's key
    return read_size(path)


def _list_folder(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - of a thousand files the names are enough
    except OSError as error:
        message = f"The folder {show_name(folder)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error


def _find_image(folder: Path, size: tuple[int, int], digests: set[str]) -> Path | None:
    """Return the file in `folder` whose decoded pixels have one of `digests`."""
    for name in _list_folder(folder):
        if not name.lower().endswith(_ENDINGS) or name.startswith("."):
            continue
        path = folder / name
        try:
            same_size = _read_size(path, read_state(path)) == size
            if same_size and pixel_digest(path) in digests:
                return path
        except DatasetError:
            continue  # a damaged neighbour is the dataset check's business
    return None


def make_stem(wish: str) -> str:
    """Return a harmless file stem like `wish`."""
    plain = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")[:_LONGEST_STEM]
    return change_name(stem, "image")


def _choose_stem(wish: str, folder: Path) -> str:
    """Return a harmless file stem like `wish` that no image or caption in `folder` has."""
    stem = make_stem(wish)
    used = {os.path.splitext(name)[0].lower() for name in _list_folder(folder)}  # noqa: PTH122
    free, number = stem, 2
    while free.lower() in used:
        free, number = f"{stem}-{number}", number + 1
    return free
