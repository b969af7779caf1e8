"""The style distance of the quality benchmark: of every image only the foreground counts.

That is what is not white, and a rim around it. Histograms and distance are those of
`trainer.evaluation.histograms`.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from trainer.evaluation import histograms
from trainer.evaluation.histograms import SIDE, Array, measure_energy_distance

__all__ = ["SIDE", "StyleRuler", "find_foreground", "measure_energy_distance"]

_RIM = 6  # pixels around the foreground
_WHITE = 230  # grey levels; what is lighter in all colours is ground
_SMALLEST_UNIT = 1e-3  # where reference images do not differ at all


class StyleRuler(histograms.StyleRuler):
    """Measures how far the foregrounds of sets of images are from a reference set."""

    def __init__(self, reference: Sequence[Image.Image]) -> None:
        super().__init__(reference, _count_features, _SMALLEST_UNIT)


def _count_features(image: Image.Image) -> Array:
    """Returns the cumulated histograms of an image, a row each."""
    image = histograms.fit(image)
    return histograms.cumulate(histograms.count_style(image, find_foreground(image)))


def find_foreground(image: Image.Image) -> Array:
    """Returns 1 on the foreground, with a rim around it, and 0 on the white background.

    Without this, sets would differ by how much of the image their subjects fill.
    """
    darkest = Image.fromarray(np.asarray(image.convert("RGB")).min(axis=-1))
    inked = darkest.point([255 if level < _WHITE else 0 for level in range(256)])
    for _ in range(_RIM // 2):  # three small squares are one large one, and far cheaper
        inked = inked.filter(ImageFilter.MaxFilter(5))
    return np.asarray(inked, dtype=np.float64) / 255
