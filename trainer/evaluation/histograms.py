"""How far a set of images is from a style: fixed features and an unbiased distance between sets.

Nothing here is trained. A part of every image becomes sixteen small histograms that describe its
style and little of what it shows: how light and how colourful its pixels are (never which hue), how
strong its edges and its dark and light lines are at three widths, and how dark those lines are.
Lines and edges come from Gaussian derivatives in a form that turning the image does not change
(Lindeberg 1998). Two sets of images are compared by the energy distance (Székely and Rizzo 2013).
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]

SIDE = 128  # pixels; every image is measured at this size
WIDTHS = (1.0, 2.0, 4.0)  # standard deviations of the Gaussians, in pixels
MOST_COLOURFUL = 0.55  # pure red is 0.53 from grey in Cb and Cr
_LINE_WIDTH = 2.0  # up to it, the lightness of dark lines is counted as well
_BINS = 12
_STRONGEST = 0.42  # an edge from black to white answers with 1 / sqrt(2 pi) = 0.40


class StyleRuler:
    """Measures how far sets of images are from a reference set.

    Args:
        reference: At least two images.
        count: Returns an image's cumulated histograms, a row each, [histograms, bins].
        smallest_unit: The least difference between reference images that a histogram is counted
            in, where they differ less or not at all.

    Attributes:
        reference: The features of the reference set, a row per image.
    """

    def __init__(
        self,
        reference: Sequence[Image.Image],
        count: Callable[[Image.Image], Array],
        smallest_unit: float,
    ) -> None:
        self._count = count
        histograms = self._count_all(reference)
        # Each histogram counts in units of what two reference images differ in it on average:
        # what varies within the style (how dark the subject is) weighs less than what does not.
        self._units = [
            max(_measure_spread(histograms[:, each]), smallest_unit)
            for each in range(histograms.shape[1])
        ]
        self.reference = self._scale(histograms)

    def describe(self, images: Sequence[Image.Image]) -> Array:
        """Returns the features of images, a row each."""
        return self._scale(self._count_all(images))

    def measure(self, images: Sequence[Image.Image]) -> float:
        """Returns the distance of a set of images to the reference set."""
        return measure_energy_distance(self.describe(images), self.reference)

    def _count_all(self, images: Sequence[Image.Image]) -> Array:
        return np.stack([self._count(image) for image in images])

    def _scale(self, histograms: Array) -> Array:
        units = np.array(self._units)[None, :, None] * math.sqrt(len(self._units))
        return (histograms / units).reshape(len(histograms), -1)


def fit(image: Image.Image) -> Image.Image:
    """Returns an image at the size at which all are measured."""
    if image.size == (SIDE, SIDE):
        return image.convert("RGB")
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def cumulate(histograms: Sequence[Array]) -> Array:
    """Returns histograms as running sums, without the last value, which is always 1.

    Cumulated, because then a line that is slightly less black differs slightly, and not as much
    as one that is white.
    """
    return np.cumsum(histograms, axis=1)[:, :-1]


def count_style(image: Image.Image, region: Array) -> list[Array]:
    """Returns the sixteen histograms of a part of an image.

    Args:
        image: As `fit` returns it.
        region: How much each pixel counts, [SIDE, SIDE].
    """
    light, blue, red = split_colour(image)
    colour = np.hypot(blue, red)
    histograms = [count(light, 1.0, region), count(colour, MOST_COLOURFUL, region)]
    for width in WIDTHS:
        edges, dark_lines, light_lines = _measure_lines(light, width)
        colour_edges = np.hypot(measure_edges(blue, width), measure_edges(red, width))
        # The root spreads the weak answers, where shading and texture lie.
        histograms += [
            count(np.sqrt(answer), math.sqrt(_STRONGEST), region)
            for answer in (edges, dark_lines, light_lines, colour_edges)
        ]
        if width <= _LINE_WIDTH:
            histograms.append(count(light, 1.0, region * dark_lines))
    return histograms


def measure_energy_distance(first: Array, second: Array) -> float:
    """Returns the unbiased energy distance of two sets: about 0 for two samples of one style.

    It can fall a little below zero, as an unbiased estimate of zero has to.
    """
    between = _measure_distances(first, second).mean()
    return float(2 * between - _measure_spread(first) - _measure_spread(second))


def _measure_spread(rows: Array) -> float:
    """Mean distance of two different members; a member's distance to itself would bias it."""
    count = len(rows)
    return float(_measure_distances(rows, rows).sum() / (count * (count - 1)))


def _measure_distances(first: Array, second: Array) -> Array:
    distances: Array = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))
    return distances


def split_colour(image: Image.Image) -> Array:
    """Returns lightness 0 .. 1 (luma) and two colour axes (Cb, Cr), [3, SIDE, SIDE].

    Not Oklab or linear light: there two indistinguishable blacks are far from each other.
    """
    values = np.asarray(image.convert("YCbCr"), dtype=np.float64) / 255
    return np.moveaxis(values - (0, 128 / 255, 128 / 255), -1, 0)


def _measure_lines(light: Array, width: float) -> tuple[Array, Array, Array]:
    """Returns edge, dark line and light line strength, all [SIDE, SIDE].

    Edges are the gradient's length; lines are the curvatures across and along (the eigenvalues of
    the Hessian), positive in a dark line on light ground. The factors make widths comparable.
    """
    across, down = blur(light, width, (0, 2)), blur(light, width, (2, 0))
    mixed = blur(light, width, (1, 1))
    mean, half = (across + down) / 2, np.hypot((across - down) / 2, mixed)
    dark, bright = np.maximum(mean + half, 0), np.maximum(half - mean, 0)
    return measure_edges(light, width), width**2 * dark, width**2 * bright


def measure_edges(channel: Array, width: float) -> Array:
    """Returns the length of the gradient, times the width, [SIDE, SIDE]."""
    return width * np.hypot(blur(channel, width, (0, 1)), blur(channel, width, (1, 0)))


def blur(channel: Array, width: float, order: tuple[int, int]) -> Array:
    """Returns the derivative of the blurred channel, of the order down and across."""
    blurred: Array = _make_filter(width, order[0]) @ channel @ _make_filter(width, order[1]).T
    return blurred


@functools.cache
def _make_filter(width: float, order: int) -> Array:
    """Returns a matrix that convolves columns; outside the page its last pixel goes on."""
    kernel = _make_kernel(width, order)
    at = np.arange(SIDE)
    matrix = np.zeros((SIDE, SIDE))
    for offset, value in enumerate(kernel, start=-(len(kernel) // 2)):
        np.add.at(matrix, (at, np.clip(at - offset, 0, SIDE - 1)), value)
    return matrix


def _make_kernel(width: float, order: int) -> Array:
    """Returns a sampled Gaussian or its first or second derivative."""
    at = np.arange(-math.ceil(4 * width), math.ceil(4 * width) + 1, dtype=np.float64)
    bell = np.exp(-(at**2) / (2 * width**2))
    bell /= bell.sum()
    if order == 0:
        return bell
    if order == 1:
        return -at / width**2 * bell
    second: Array = (at**2 / width**4 - 1 / width**2) * bell
    second -= second.mean()  # sampling leaves a trace of the plain value
    return second


def count(values: Array, largest: float, weights: Array) -> Array:
    """Returns a histogram that sums to 1; a value is shared by the two bins that it lies between.

    Hard bins would let a difference of one grey level move a pixel's whole vote.
    """
    place = np.clip(values.ravel() / largest, 0, 1) * (_BINS - 1)
    lower = np.minimum(place.astype(int), _BINS - 2)
    share = place - lower
    votes = weights.ravel()
    counted = np.bincount(lower, votes * (1 - share), _BINS)
    counted = counted + np.bincount(lower + 1, votes * share, _BINS)
    total = counted.sum()
    return counted / total if total > 0 else np.full(_BINS, 1 / _BINS)
