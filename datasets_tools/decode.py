"""Opening an image file: which files are accepted, how large, which way up."""

import contextlib
import itertools
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.formats import (
    HEIC,
    explain_damage,
    explain_unreadable,
    find_kind,
    load_heic_decoder,
    read_head,
)

MAX_PIXELS = 64_000_000
MIN_SIDE = 16

# Only these decoders are used, whatever the file name is: some of Pillow's others start programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
_RARE_MODES = ("F", "LAB")  # of TIFF; what their numbers mean as colours is a guess
# Two endings for a JPEG without its own: what was decoded to the last block is the same with both.
_JPEG_ENDINGS = (
    b"\xff\xd9",
    bytes(itertools.chain.from_iterable([range(1, 255)] * 9)) + b"\xff\xd9",
)
_PNG_SIGNATURE_BYTES = 8
# What makes an image upright, by EXIF orientation; the sideways ones swap width and height.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {5, 6, 7, 8}
# What Pillow's decoders may raise on damaged data; its documentation promises only the first.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,  # of the AVIF decoder
    struct.error,
    zlib.error,
)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image lazily and refuse it by its header if its size is out of bounds."""
    name = show_name(path)
    try:
        if path.is_symlink() and not path.exists():
            raise DatasetError(
                f"{name} is a link that leads nowhere. Restore what it points to, or remove it."
            )
        if not path.is_file():  # a named pipe would block for ever
            raise DatasetError(f"There is no image file {name}. Check the path, then try again.")
        head = read_head(path)
        heic = find_kind(head) is HEIC and load_heic_decoder()
        image = Image.open(path, formats=("HEIF",) if heic else _FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        raise DatasetError(explain_unreadable(path, head)) from error
    except PermissionError as error:
        raise DatasetError(f"{name} cannot be read: {explain_os_error(error)}") from error
    except DAMAGE as error:
        raise damaged(path) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path)
        if min(width, height) < MIN_SIDE:
            raise DatasetError(
                f"{name} is too small: {width} x {height} pixels, and at least {MIN_SIDE} on each "
                "side are needed. Use a larger copy or remove it."
            )
        yield image


def _too_large(path: Path) -> DatasetError:
    return DatasetError(
        f"{show_name(path)} is too large: it has more than {MAX_PIXELS // 1_000_000} million "
        "pixels. Save a smaller copy; training needs no more than about 2000 pixels a side."
    )


def load_image(path: Path, image: Image.Image) -> Image.Image:
    """Decode an open image to its end and return it; a JPEG may lack its last two bytes.

    Raises:
        One of `DAMAGE`: The data does not hold together.
    """
    try:
        image.load()
    except OSError:
        # Of a progressive one, whole passes may be missing without a trace.
        is_plain = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
        complete = _complete_jpeg(path) if is_plain else None
        if complete is None:
            raise
        return complete
    if image.mode in _RARE_MODES:
        msg = f"mode {image.mode}"
        raise ValueError(msg)
    return image


def damaged(path: Path) -> DatasetError:
    """Return the error for an image whose data does not hold together."""
    try:
        kind = find_kind(read_head(path))
    except OSError:
        kind = None
    return DatasetError(explain_damage(path, kind))


def _complete_jpeg(path: Path) -> Image.Image | None:
    """Return a JPEG that lacks only its end marker; None where part of the image is missing.

    The decoder fills a missing part with whatever comes next, so two different endings give two
    different images then.
    """
    data, images = path.read_bytes().rstrip(b"\xff"), []  # half of a marker, or of its escape
    for ending in _JPEG_ENDINGS:
        image = Image.open(BytesIO(data + ending), formats=("JPEG",))
        try:
            image.load()
        except DAMAGE:
            return None
        images.append(image)
    first, second = images
    return first if first.tobytes() == second.tobytes() else None


def read_orientation(path: Path, image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none or it makes no sense."""
    try:
        if image.format == "TIFF":
            return 1  # Pillow has turned it, and its size
        if image.format != "PNG" or "exif" in image.info or "Raw profile type exif" in image.info:
            exif = image.getexif()
        else:  # here getexif would decode the whole image to look behind it
            exif = Image.Exif()
            exif.load(_find_png_exif(path))
        turn = exif.get(ExifTags.Base.Orientation, 1)
    except DAMAGE:
        return 1
    return turn if isinstance(turn, int) else 1


def _find_png_exif(path: Path) -> bytes:
    """Return the eXIf chunk of a PNG; some programs put it behind the pixels."""
    with path.open("rb") as file:
        file.seek(_PNG_SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return file.read(length)
            file.seek(length + 4, 1)  # the chunk and its checksum
    return b""
