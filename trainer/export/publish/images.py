"""Samples as images that travel with a file: a thumbnail in it, a preview beside it."""

import base64
import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from datasets_tools.files import explain_write_error, write_atomically
from trainer.export.errors import ExportError

_THUMBNAIL = 256  # pixels, the size that ModelSpec advises
_PREVIEW = 512
_STEP = re.compile(r"^step-(\d{6,})$")


def find_samples(samples: Path, step: int) -> list[Path]:
    """Returns the images of the last samples that were generated up to a step, in their order."""
    steps = {
        int(match[1]): folder
        for folder in (samples.iterdir() if samples.is_dir() else ())
        if (match := _STEP.match(folder.name))
    }
    by_step = [sorted(steps[each].glob("*.png")) for each in sorted(steps) if each <= step]
    return next((images for images in reversed(by_step) if images), [])


def make_thumbnail(images: Sequence[Path]) -> str:
    """Returns the first readable image as a data URL of a small square JPEG, "" without one."""
    image = open_first(images)
    if image is None:
        return ""
    encoded = io.BytesIO()
    square = ImageOps.fit(image, (_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    square.save(encoded, format="JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def write_preview(path: Path, images: Sequence[Path]) -> bool:
    """Writes the first readable image as a PNG without metadata; returns whether there is one.

    Raises:
        ExportError: the disk is full or cannot be written.
    """
    image = open_first(images)
    if image is None:
        return False
    image.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", optimize=True)
    try:
        write_atomically(path, encoded.getvalue())
    except OSError as error:
        raise ExportError(explain_write_error(path, error)) from error
    return True


def open_first(images: Sequence[Path]) -> Image.Image | None:
    """Returns the first image that can be read: a damaged sample must not cost the export."""
    for path in images:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
            with Image.open(path) as image:
                bare = Image.new("RGB", image.size)
                bare.paste(image.convert("RGB"))  # pixels alone: text chunks stay behind
            return bare
    return None
