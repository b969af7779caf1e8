"""Reading one image safely, and what hangs on that: identity, facts, encoding, thumbnails."""

import hashlib
import threading
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
    load_image,
    open_image,
    read_orientation,
)
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.formats import IMAGE_SUFFIXES

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "FileState",
    "ImageFacts",
    "digest_pixels",
    "encode_copy",
    "encode_image",
    "fingerprint",
    "image_id",
    "inspect_image",
    "make_folder",
    "pixel_digest",
    "read_image",
    "read_size",
    "read_state",
    "remember_facts",
    "write_thumbnail",
]

_SHORT_ID_LENGTH = 16
_JPEG_QUALITY = 95
_PNG_COMPRESSION = 4  # half the time of Pillow's default for files a few per cent larger
_THUMBNAIL_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_MOST_FACTS = 4096
_facts_lock = threading.Lock()


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
            upright = to_rgb(load_image(path, image))
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
            load_image(path, image)
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
    copy = encode_copy(path, side, kind)
    make_folder(to.parent)
    save_for_person(to, copy, f"The thumbnail of {show_name(path)}")


def encode_copy(path: Path, side: int, kind: str = "WEBP") -> bytes:
    """Return a copy whose longer side is at most `side` pixels, in a format by Pillow's name.

    Raises:
        DatasetError: The image cannot be used.
    """
    image = read_image(path)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return encode_image(image, kind)


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


@lru_cache(maxsize=16384)
def _digest_file(path: Path, state: FileState) -> str:  # noqa: ARG001 - state is the cache's key
    return digest_pixels(read_image(path))


def digest_pixels(image: Image.Image) -> str:
    """Return a hash of an image's size and pixels."""
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; raises DatasetError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The folder {show_name(folder)} cannot be made: {explain_os_error(error)}"
        raise DatasetError(message) from error
