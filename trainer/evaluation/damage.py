"""Damage that a style does not explain: fragments, dirt, blurred patches, missing parts.

Each is counted per image and compared with what is normal: the training images and the base model's
images of the same prompts, whichever have more of it. What exceeds that becomes a number in 0 .. 1.
Fragments, dirt and missing parts need a ground (`ground`); images without one are left out there.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from PIL import Image

from trainer.evaluation.ground import Ground, list_parts, measure_ground, widen
from trainer.evaluation.histograms import SIDE, Array, fit, measure_edges, split_colour

_SMALL_AREA = 0.02  # share of the image; a separate part that is smaller is a fragment
_LEAST_AREA = 3  # pixels; less is noise of the decoder
_RIM = 3  # pixels around the silhouette that may be soft
_DIRTY = 12  # grey levels from the ground's colour
_BLOCK = 16  # pixels
_BROAD = 4.0  # width in pixels at which an edge answers whether it is sharp or soft
_EDGE_IN_BLOCK = 0.06  # answer at that width; a block with less has no edge to judge
_SOFT_SHARE = 0.7  # of the softest blocks that are normal
_MISSING_ALLOWED = 0.3  # share of a silhouette by which a style may move or shrink it
_FRAGMENTS_UNIT = 4.0  # so many more fragments per image are a damage of 1 - 1/e
_DIRT_UNIT = 0.3  # share of the ground
_BLUR_UNIT = 0.3  # share of the blocks with an edge


@dataclass(frozen=True)
class Damage:
    """The damage of a set of images, each 0 .. 1.

    Attributes:
        fragments: More separate small parts than normal.
        dirt: A ground that is less clean than normal.
        blur: More soft patches than normal.
        missing: Parts of the base model's silhouettes that are not there.
    """

    fragments: float
    dirt: float
    blur: float
    missing: float

    @property
    def total(self) -> float:
        """One minus the product of what each leaves whole."""
        return 1.0 - float(np.prod([1.0 - each for each in astuple(self)]))


class DamageRuler:
    """Measures the damage of sets of images.

    Args:
        training: The training images, as the base model's VAE shows them.
        base: The base model's images of the prompts, in their order.
    """

    def __init__(self, training: Sequence[Image.Image], base: Sequence[Image.Image]) -> None:
        self._base = [measure_ground(image) for image in base]
        known = [measure_ground(image) for image in training]
        self._fragments = max(_count_fragments(self._base), _count_fragments(known))
        self._dirt = max(_measure_dirt(self._base), _measure_dirt(known))
        ratios = [_list_sharpness(training), _list_sharpness(base)]
        self._soft = _SOFT_SHARE * min(
            (float(np.quantile(each, 0.1)) for each in ratios if len(each)), default=0.0
        )
        self._blur = max(_share_below(each, self._soft) for each in ratios)

    def measure(self, images: Sequence[Image.Image]) -> Damage:
        """Returns the damage of images of the same prompts, in the same order."""
        grounds = [measure_ground(image) for image in images]
        fragments = _count_fragments(grounds) - self._fragments
        dirt = _measure_dirt(grounds) - self._dirt
        blur = _share_below(_list_sharpness(images), self._soft) - self._blur
        missing = _measure_missing(grounds, self._base)
        return Damage(
            fragments=_saturate(fragments / _FRAGMENTS_UNIT),
            dirt=_saturate(dirt / _DIRT_UNIT),
            blur=_saturate(blur / _BLUR_UNIT),
            missing=missing,
        )


def _saturate(excess: float) -> float:
    return 1.0 - float(np.exp(-max(0.0, excess)))


def _count_fragments(grounds: Sequence[Ground]) -> float:
    """Returns the mean number of small separate parts beside the largest."""
    limit = _SMALL_AREA * SIDE * SIDE
    counts = [
        sum(_LEAST_AREA <= area < limit for area in list_parts(each.silhouette)[1:])
        for each in grounds
        if each.uniform
    ]
    return float(np.mean(counts)) if counts else 0.0


def _measure_dirt(grounds: Sequence[Ground]) -> float:
    """Returns the mean share of the ground that has not quite its colour."""
    shares = []
    for each in grounds:
        free = ~widen(each.silhouette, _RIM)
        if each.uniform and free.any():
            shares.append(float((each.difference[free] > _DIRTY).mean()))
    return float(np.mean(shares)) if shares else 0.0


def _list_sharpness(images: Sequence[Image.Image]) -> Array:
    """Returns, for each block with an edge, its finest edge over its broadest one.

    A step answers alike at both widths; blurred by b pixels it answers with
    sqrt(16 + b^2) / (4 sqrt(1 + b^2)) of that, which is 0.5 for 2 pixels.
    """
    ratios = []
    for image in images:
        light = split_colour(fit(image))[0]
        # The edge that a broad answer comes from may lie beyond the block.
        fine = _find_largest(_spread(measure_edges(light, 1.0), round(_BROAD)))
        broad = _find_largest(measure_edges(light, _BROAD))
        edged = broad > _EDGE_IN_BLOCK
        ratios.append(fine[edged] / broad[edged])
    return np.concatenate(ratios) if ratios else np.zeros(0)


def _spread(values: Array, pixels: int) -> Array:
    """Returns the largest value so many pixels around each place, at most, in a square."""
    for axis in (0, 1):
        margins = [(pixels, pixels) if each == axis else (0, 0) for each in (0, 1)]
        padded = np.moveaxis(np.pad(values, margins, mode="edge"), axis, 0)
        shifted = [padded[start : start + SIDE] for start in range(2 * pixels + 1)]
        values = np.moveaxis(np.maximum.reduce(shifted), 0, axis)
    return values


def _find_largest(values: Array) -> Array:
    cells = SIDE // _BLOCK
    largest: Array = values.reshape(cells, _BLOCK, cells, _BLOCK).max(axis=(1, 3))
    return largest


def _share_below(ratios: Array, limit: float) -> float:
    return float((ratios < limit).mean()) if len(ratios) else 0.0


def _measure_missing(grounds: Sequence[Ground], base: Sequence[Ground]) -> float:
    """Returns the mean share of the base model's silhouettes that is ground now.

    What a style moves is allowed for, so that it is 0 for an image that is whole.
    """
    shares = [
        float((known.silhouette & ~each.silhouette).sum() / known.silhouette.sum())
        for each, known in zip(grounds, base, strict=True)
        if each.uniform and known.uniform and known.silhouette.any()
    ]
    if not shares:
        return 0.0
    excess = [max(0.0, each - _MISSING_ALLOWED) / (1 - _MISSING_ALLOWED) for each in shares]
    return float(np.mean(excess))
