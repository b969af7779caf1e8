"""Five styles for the benchmark of suggestions, made from one set of images by filters.

The images are those of `examples/openmoji-style`, the held-out ones those of
`benchmarks/data/openmoji-heldout`: of each style there are 16 images to learn from and 48 that show
other subjects. Thresholds may be chosen on `CHOSEN_ON` alone; `REPORTED` has the other ones.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.images import ROOT, read_held_out, read_image_file

EXAMPLES = ROOT / "examples" / "openmoji-style" / "images"
_NAVY = (24, 34, 84)
_WARM = ((60, 10, 10), (220, 90, 30), (255, 200, 80), (255, 255, 255))
_WARM_LEVELS = (0, 120, 200, 255)  # grey levels of these colours
_INK_LEVEL = 140  # grey levels; what is darker becomes black


def keep(image: Image.Image) -> Image.Image:
    """Returns the image as it is: flat fills with black outlines."""
    return image.convert("RGB")


def make_pastel(image: Image.Image) -> Image.Image:
    """Returns pale fills with narrow outlines."""
    light = np.asarray(image.convert("RGB").filter(ImageFilter.MaxFilter(3)), dtype=np.float64)
    return Image.fromarray((255 - 0.45 * (255 - light)).round().astype(np.uint8))


def make_ink(image: Image.Image) -> Image.Image:
    """Returns black shapes on white."""
    grey = image.convert("L").filter(ImageFilter.GaussianBlur(0.5))
    ramp = [max(0, min(255, (level - _INK_LEVEL) * 8 + 128)) for level in range(256)]
    return grey.point(ramp).convert("RGB")


def make_night(image: Image.Image) -> Image.Image:
    """Returns white lines on a dark ground, without other colours."""
    share = 1 - np.asarray(image.convert("L"), dtype=np.float64)[..., None] / 255
    values = share * 255 + (1 - share) * np.array(_NAVY, dtype=np.float64)
    return Image.fromarray(values.round().astype(np.uint8))


def make_warm(image: Image.Image) -> Image.Image:
    """Returns the image in dark red, orange and yellow on white, by lightness alone."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    ramp = zip(*_WARM, strict=True)
    levels = [np.interp(grey, _WARM_LEVELS, channel) for channel in ramp]
    return Image.fromarray(np.stack(levels, axis=-1).round().astype(np.uint8))


STYLES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "openmoji": keep,
    "pastel": make_pastel,
    "ink": make_ink,
    "night": make_night,
    "warm": make_warm,
}
CHOSEN_ON = ("openmoji", "pastel", "night")
REPORTED = ("ink", "warm")


def write_dataset(style: str, folder: Path) -> Path:
    """Writes the 16 images of a style with their captions; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(EXAMPLES.glob("*.png")):
        STYLES[style](read_image_file(path)).save(folder / path.name)
        shutil.copyfile(path.with_suffix(".txt"), folder / f"{path.stem}.txt")
    return folder


def make_held_out(style: str) -> list[Image.Image]:
    """Returns the 48 images of a style that no run learns from."""
    return [STYLES[style](image) for image in read_held_out()]
