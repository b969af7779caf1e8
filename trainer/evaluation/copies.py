"""Whether images repeat training images: the nearest one of each, and a threshold.

The likeness of two images is the cosine of their descriptions. The threshold comes from images that
cannot be copies: each training image against the others, left-out images, and the base model's own
images, each with its nearest training image. It lies four standard deviations above the mean of
each of these sets, in units of Fisher's z, and above all of their images: the largest of many
values has a longer tail than a normal one (Gumbel's, of which 0.3 % lie there; of three deviations
it would be 1.2 %).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.histograms import Array

_DEVIATIONS = 4.0
_MOST = 1 - 1e-6  # a cosine of 1 has no finite z
_ALMOST_EVER = 3.0  # the "rule of three": none in n bounds the rate by 3 / n, at 95 %


@dataclass(frozen=True)
class Nearest:
    """An image's nearest training image.

    Attributes:
        index: Of the training image.
        likeness: Their cosine, -1 .. 1.
    """

    index: int
    likeness: float


@dataclass(frozen=True)
class CopyRuler:
    """What counts as a copy.

    Attributes:
        training: Descriptions of the training images, a row each.
        threshold: A likeness above it is a copy.
        known: How many images that are no copies it was computed from.
    """

    training: Array
    threshold: float
    known: int

    @property
    def most_false_alarms(self) -> float:
        """Upper bound of the rate of false alarms, at 95 %: none of the known images is one."""
        return min(1.0, _ALMOST_EVER / self.known)

    def find(self, images: Array) -> list[Nearest]:
        """Returns the nearest training image of each row."""
        return find_nearest(images, self.training)


def make_copy_ruler(training: Array, strangers: Sequence[Array]) -> CopyRuler:
    """Returns the ruler of a set of training images.

    Args:
        training: Descriptions, at least two rows.
        strangers: Descriptions of images that cannot be copies, a set each; may be empty.
    """
    likeness = measure_likeness(training, training)
    np.fill_diagonal(likeness, -1.0)
    nearest = [likeness.max(axis=1)]
    nearest += [measure_likeness(rows, training).max(axis=1) for rows in strangers if len(rows)]
    # Two identical training images are no evidence of what a copy is.
    sets = [np.arctanh(each[each < _MOST]) for each in nearest if (each < _MOST).any()]
    if not sets:
        return CopyRuler(training, _MOST, 1)
    limit = max(max(float(z.mean() + _DEVIATIONS * z.std()), float(z.max())) for z in sets)
    return CopyRuler(training, math.tanh(limit), sum(len(z) for z in sets))


def find_nearest(images: Array, training: Array) -> list[Nearest]:
    """Returns the nearest training image of each row."""
    likeness = measure_likeness(images, training)
    return [
        Nearest(int(place), float(row[place]))
        for row, place in zip(likeness, likeness.argmax(axis=1), strict=True)
    ]


def measure_likeness(first: Array, second: Array) -> Array:
    """Returns the cosine of every pair of rows, [rows of first, rows of second]."""
    likeness: Array = _normalise(first) @ _normalise(second).T
    return likeness


def _normalise(rows: Array) -> Array:
    lengths: Array = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit: Array = rows / lengths
    return unit
