"""Which image formats are read, and a sentence for every file that is none of them.

A file is known by its first bytes, whatever its name is. So a sound file of a format that is not
read is called by its name and never "damaged", and each cause has its own remedy.
"""

from pathlib import Path
from typing import NamedTuple

from PIL import features

from datasets_tools.errors import show_name

IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp",
    ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif",
}  # fmt: skip
FORMAT_NAMES = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
HEIC_EXTRA = 'pip install "lorasmith[heic]"'

_HEAD_BYTES = 512
_COPY_AGAIN = "Copy it again from where it came from, or remove it."
_SAVE_AS = "Open it in the program it comes from and save it as PNG or JPEG, or remove it."


class FileKind(NamedTuple):
    """What a file is by its first bytes.

    Attributes:
        title: As in "is a HEIC photo".
        decoder: The name of the decoder in Pillow; "" where there is none.
    """

    title: str
    decoder: str = ""


HEIC = FileKind("a HEIC photo", "HEIF")
_AVIF = FileKind("an AVIF image", "AVIF")
_WEB_PAGE = FileKind("a web page")
_POINTER = FileKind("a pointer of Git LFS")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
# Table B.1 of ITU T.81: of the frame headers only baseline, extended and progressive are common.
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_COMMON_FRAMES = {0xC0, 0xC1, 0xC2}
# By the first bytes, the more exact ones first.
_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89PNG\r\n\x1a\n", FileKind("a PNG image", "PNG")),
    (b"\xff\xd8\xff", FileKind("a JPEG image", "JPEG")),
    (b"BM", FileKind("a BMP image", "BMP")),
    (b"GIF8", FileKind("a GIF image", "GIF")),
    (b"II*\0", FileKind("a TIFF image", "TIFF")),
    (b"MM\0*", FileKind("a TIFF image", "TIFF")),
    (b"II+\0", FileKind("a TIFF image", "TIFF")),
    (b"MM\0+", FileKind("a TIFF image", "TIFF")),
    (b"\xff\x0a", FileKind("a JPEG XL image")),
    (b"\0\0\0\x0cJXL ", FileKind("a JPEG XL image")),
    (b"\0\0\0\x0cjP  ", FileKind("a JPEG 2000 image")),
    (b"8BPS", FileKind("a Photoshop file")),
    (b"gimp xcf", FileKind("a GIMP file")),
    (b"\0\0\1\0", FileKind("an icon file")),
    (b"v/1\1", FileKind("an OpenEXR image")),
    (b"DDS ", FileKind("a DDS texture")),
    (b"%PDF", FileKind("a PDF document")),
    (b"%!PS", FileKind("a PostScript file")),
    (b"P5", FileKind("a PGM image")),
    (b"P6", FileKind("a PPM image")),
    (b"PK\3\4", FileKind("a zip archive")),
    (b"Rar!", FileKind("a RAR archive")),
    (b"7z\xbc\xaf", FileKind("a 7-Zip archive")),
    (b"\x1a\x45\xdf\xa3", FileKind("a video")),
    (b"version https://git-lfs", _POINTER),
)


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file.

    Raises:
        OSError: From the system.
    """
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def find_kind(head: bytes) -> FileKind | None:
    """Return what a file is, from its first bytes; None where it is none of the known kinds."""
    if head[:4] == b"RIFF":
        return FileKind("a WebP image", "WEBP") if head[8:12] == b"WEBP" else FileKind("a video")
    if head[4:8] == b"ftyp":
        return _find_kind_by_brands(head)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return _WEB_PAGE
    if start.startswith((b"<svg", b"<?xml")) and b"<svg" in start:
        return FileKind("an SVG file")
    return None


def load_heic_decoder() -> bool:
    """Have Pillow read HEIC; False where the package for that is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def explain_unreadable(path: Path, head: bytes) -> str:
    """Return the sentences about a file that no decoder recognises: what it is and what to do."""
    name, kind = show_name(path), find_kind(head)
    if not head:
        return f"{name} is empty: it has no bytes. {_COPY_AGAIN}"
    if kind is None:
        return (
            f"{name} is not an image that can be read, despite its name. Save it as PNG or JPEG, "
            "or remove it."
        )
    if kind is _WEB_PAGE:
        return (
            f"{name} is a web page and not an image: its download went wrong. Download the image "
            "itself, or remove it."
        )
    if kind is _POINTER:
        return (
            f"{name} is only a pointer of Git LFS to the image. Fetch it with git lfs pull, or "
            "remove it."
        )
    if kind is HEIC and not load_heic_decoder():
        return (
            f"{name} is a HEIC photo, and the package that reads those is not installed. Install "
            f"it with {HEIC_EXTRA}, or save the photo as JPEG or PNG."
        )
    if kind is _AVIF and not features.check("avif"):
        return (
            f"{name} is an AVIF image, which this version of Pillow cannot read. Install a newer "
            "one with pip install -U pillow, or save the image as PNG or JPEG."
        )
    if not kind.decoder:
        return f"{name} is {kind.title}, which is not read here. {_SAVE_AS}"
    return explain_damage(path, kind)


def explain_damage(path: Path, kind: FileKind | None) -> str:
    """Return the sentences about an image whose data does not hold together."""
    name = show_name(path)
    if kind is not None and kind.decoder == "JPEG" and _is_rare_jpeg(path):
        return (
            f"{name} is a JPEG of a rare variant (12 bits, lossless or arithmetic coding), which "
            f"is not read here. {_SAVE_AS}"
        )
    if kind is not None and kind.decoder in ("TIFF", "AVIF", "HEIF"):
        return (
            f"{name} is {kind.title} that cannot be read to its end: it is damaged, cut short, or "
            "of a rare variant. Save it as an 8-bit PNG or JPEG, or remove it."
        )
    return f"{name} is damaged or cut short, so it cannot be read to its end. {_COPY_AGAIN}"


def _is_rare_jpeg(path: Path) -> bool:
    """Return whether a JPEG's frame header names a coding that decoders of 8 bits do not have."""
    try:
        with path.open("rb") as file:
            file.seek(2)
            while len(head := file.read(5)) == 5 and head[0] == 0xFF:
                marker, length = head[1], int.from_bytes(head[2:4], "big")
                if marker in _FRAME_HEADERS:  # the fifth byte is the number of bits
                    return marker not in _COMMON_FRAMES or head[4] != 8
                file.seek(length - 3, 1)
    except OSError:
        pass
    return False


def _find_kind_by_brands(head: bytes) -> FileKind:
    """Return what a file of ISO boxes is: its first box names the brands it agrees with."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return _AVIF
    if any(brand in _HEIC_BRANDS for brand in brands):
        return HEIC
    if brands[0].startswith(b"crx"):
        return FileKind("a raw camera file")
    return FileKind("a video")
