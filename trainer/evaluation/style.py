"""How far generated images are from the training images, the ground and all colours included.

Beside the sixteen histograms of the foreground (`histograms`), whole images are counted: how light
they are, how colourful, and which colours they have. The ground has its own two: an image whose
ground turned grey, or that is still in colour where the style is black and white, is far away.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from trainer.evaluation.ground import measure_ground, widen
from trainer.evaluation.histograms import (
    MOST_COLOURFUL,
    Array,
    StyleRuler,
    count,
    count_style,
    cumulate,
    fit,
    split_colour,
)

_RIM = 6  # pixels around the foreground
# Histograms in which the training images do not differ would otherwise outweigh all others: an
# image of a black-and-white style that is a little brown must not be as far as one in full colour.
_SMALLEST_UNIT = 0.1


def make_ruler(reference: Sequence[Image.Image]) -> StyleRuler:
    """Returns what measures sets of images against the training images, at least two."""
    return StyleRuler(reference, count_features, _SMALLEST_UNIT)


def close_distance(distance: float, base: float) -> float:
    """Returns the share of the base model's distance that is closed, 0 .. 1."""
    return min(1.0, max(0.0, 1 - distance / base)) if base > 0 else 0.0


def count_features(image: Image.Image) -> Array:
    """Returns the cumulated histograms of an image, [22, bins].

    Sixteen are of the foreground; then come lightness, colourfulness, Cb and Cr of the whole, and
    lightness and colourfulness of the ground.
    """
    image = fit(image)
    ground = measure_ground(image)
    light, blue, red = split_colour(image)
    whole = np.ones_like(light)
    around = (~ground.silhouette).astype(np.float64)
    return cumulate(
        [
            *count_style(image, widen(ground.silhouette, _RIM).astype(np.float64)),
            count(light, 1.0, whole),
            count(np.hypot(blue, red), MOST_COLOURFUL, whole),
            count(blue + 0.5, 1.0, whole),
            count(red + 0.5, 1.0, whole),
            count(light, 1.0, around),
            count(np.hypot(blue, red), MOST_COLOURFUL, around),
        ]
    )
