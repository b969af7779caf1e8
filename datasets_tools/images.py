"""Reading one image safely, and what hangs on that: identity, thumbnails, taking in uploads."""

import hashlib
import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from datasets_tools.colour import to_rgb
from datasets_tools.decode import (
    DAMAGE,
    MAX_PIXELS,
    MIN_SIDE,
    SIDEWAYS,
    TURNS,
    damaged,
    open_image,
    read_orientation,
)
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.names import change_name

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "FileState",
    "ImageFacts",
    "encode_image",
    "fingerprint",
    "image_id",
    "import_image",
    "inspect_image",
    "pixel_digest",
    "read_image",
    "read_size",
    "read_state",
    "remember_facts",
    "write_thumbnail",
]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}

_SHORT_ID_LENGTH = 16
_JPEG_QUALITY = 95
_PNG_COMPRESSION = 4  # half the time of Pillow's default for files a few per cent larger
_LONGEST_STEM = 60
_THUMBNAIL_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_MOST_FACTS = 4096
_facts_lock = threading.Lock()
_import_lock = threading.Lock()  # two uploads at once must not choose the same free name


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image that was decoded to its end: upright size and content id."""

    width: int
    height: int
    id: str


FileState = tuple[int, int, int, int]
_facts: dict[tuple[Path, FileState], ImageFacts] = {}


def read_image(path: Path) -> Image.Image:
    """Return the image as 8-bit RGB: upright, on white, in sRGB, the first frame if it moves.

    Raises:
        DatasetError: Not an image, damaged, too large or too small; the message names the file.
    """
    with open_image(path) as image:
        try:
            turn = read_orientation(path, image)
            image.load()
            upright = to_rgb(image)
            return upright.transpose(TURNS[turn]) if turn in TURNS else upright
        except DAMAGE as error:
            raise damaged(path) from error


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height of the upright image, from the header alone.

    Raises:
        DatasetError: Not an image, too large or too small; the message names the file.
    """
    with open_image(path) as image:
        try:
            width, height = image.size
            return (height, width) if read_orientation(path, image) in SIDEWAYS else image.size
        except DAMAGE as error:
            raise damaged(path) from error


def inspect_image(path: Path) -> ImageFacts:
    """Return size and content id of an image after decoding all of it.

    A file that has not changed since the last call is not read again.

    Raises:
        DatasetError: The image cannot be used; the message names the file.
    """
    state = read_state(path)
    known = _facts.get((path, state))
    if known is not None:
        return known
    width, height = read_size(path)
    with open_image(path) as image:
        try:
            image.load()
        except DAMAGE as error:
            raise damaged(path) from error
    facts = ImageFacts(width, height, fingerprint(path))
    remember_facts(path, state, facts)
    return facts


def remember_facts(path: Path, state: FileState, facts: ImageFacts) -> None:
    """Spare `inspect_image` a file in this state, because somebody has decoded all of it."""
    with _facts_lock:
        while len(_facts) >= _MOST_FACTS:
            del _facts[next(iter(_facts))]
        _facts[path, state] = facts


def pixel_digest(path: Path) -> str:
    """Return a hash of the decoded image: equal pixels, equal hash, whatever the file format.

    A file that has not changed since the last call is not read again.

    Raises:
        DatasetError: The image cannot be used; the message names the file.
    """
    return _digest_file(path, read_state(path))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of the file's bytes: the content id that cache keys are made of.

    Raises:
        DatasetError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"The image {show_name(path)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error


def image_id(path: Path) -> str:
    """Return the short content id, 16 hexadecimal digits of the fingerprint."""
    return fingerprint(path)[:_SHORT_ID_LENGTH]


def write_thumbnail(path: Path, to: Path, side: int = 256) -> None:
    """Write a small copy whose longer side is at most `side` pixels; the format is `to`'s suffix.

    Raises:
        DatasetError: The image cannot be used or the thumbnail cannot be written.
    """
    kind = _THUMBNAIL_FORMATS.get(to.suffix.lower())
    if kind is None:
        raise DatasetError(
            f"A thumbnail cannot be written as {show_name(to)}. Use .jpg, .png or .webp."
        )
    image = read_image(path)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    _make_folder(to.parent)
    save_for_person(to, encode_image(image, kind), f"The thumbnail of {show_name(path)}")


def import_image(source: Path, folder: Path) -> Path:
    """Take an uploaded image into a dataset folder and return where it lies.

    The copy is encoded anew, so nothing of the upload but its pixels arrives: no EXIF, no place,
    no hidden data. A JPEG stays a JPEG of high quality, as a photograph in PNG is four times the
    size; everything else becomes PNG. The file name is ours, made of the letters and digits of
    the source's. An image that the folder already holds is not added a second time.

    Raises:
        DatasetError: The image cannot be used or cannot be written; nothing is left behind.
    """
    image = read_image(source)
    with open_image(source) as header:
        kind, suffix = ("JPEG", ".jpg") if header.format in ("JPEG", "MPO") else ("PNG", ".png")
    data = encode_image(image, kind)
    digests = {_digest_pixels(image)}
    if kind == "JPEG":  # encoding has changed the pixels a little; the folder may hold either
        with Image.open(BytesIO(data)) as encoded:
            digests.add(_digest_pixels(encoded.convert("RGB")))
    _make_folder(folder)
    with _import_lock:
        existing = _find_image(folder, image.size, digests)
        if existing is not None:
            return existing
        path = folder / f"{_choose_stem(source.stem, folder)}{suffix}"
        save_for_person(path, data, f"The image {show_name(source)}")
    return path


def read_state(path: Path) -> FileState:
    """Return what changes when a file does: place on the disk, size, times.

    Raises:
        DatasetError: The file cannot be read.
    """
    try:
        state = path.stat()
    except OSError as error:
        message = f"The image {show_name(path)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


@lru_cache(maxsize=4096)
def _digest_file(path: Path, state: FileState) -> str:  # noqa: ARG001 - state is the cache's key
    return _digest_pixels(read_image(path))


def _digest_pixels(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.width}x{image.height} {image.mode} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def encode_image(image: Image.Image, kind: str) -> bytes:
    """Return the image in a file format, with none of its metadata."""
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    memory = BytesIO()
    if kind == "JPEG":
        bare.save(memory, kind, quality=_JPEG_QUALITY, subsampling=0)
    elif kind == "PNG":
        bare.save(memory, kind, compress_level=_PNG_COMPRESSION)
    else:
        bare.save(memory, kind)
    return memory.getvalue()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {show_name(folder)} cannot be made: {explain_os_error(error)}"
        raise DatasetError(message) from error


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        message = f"The folder {show_name(folder)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error


def _find_image(folder: Path, size: tuple[int, int], digests: set[str]) -> Path | None:
    """Return the file in `folder` whose decoded pixels have one of `digests`."""
    for path in _list_folder(folder):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        try:
            if read_size(path) == size and pixel_digest(path) in digests:
                return path
        except DatasetError:
            continue  # a damaged neighbour is the dataset check's business
    return None


def _choose_stem(wish: str, folder: Path) -> str:
    """Return a harmless file stem like `wish` that no image or caption in `folder` has."""
    plain = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-_")[:_LONGEST_STEM]
    stem = change_name(stem, "image")
    used = {path.stem.lower() for path in _list_folder(folder)}
    free, number = stem, 2
    while free.lower() in used:
        free, number = f"{stem}-{number}", number + 1
    return free
