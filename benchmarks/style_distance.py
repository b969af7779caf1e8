"""How far a set of images is from a style: fixed features and an unbiased distance between sets.

Nothing here is trained. Of every image only the foreground counts: what is not white, and a
rim around it. It becomes sixteen small histograms that describe its style and little of what it
shows: how light and how colourful its pixels are (never which hue), how strong its edges and its
dark and light lines are at three widths, and how dark those lines are. Lines and edges come from
Gaussian derivatives in a form that turning the image does not change (Lindeberg 1998). Two sets
of images are compared by the energy distance (Székely and Rizzo 2013).
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[np.float64]

SIDE = 128  # pixels; the starter model's own size
WIDTHS = (1.0, 2.0, 4.0)  # standard deviations of the Gaussians, in pixels
_LINE_WIDTH = 2.0  # up to it, the lightness of dark lines is counted as well
_BINS = 12
_RIM = 6  # pixels around the foreground
_WHITE = 230  # grey levels; what is lighter in all colours is ground
_SMALLEST_UNIT = 1e-3  # where reference images do not differ at all
_STRONGEST = 0.42  # an edge from black to white answers with 1 / sqrt(2 pi) = 0.40
_MOST_COLOURFUL = 0.55  # pure red is 0.53 from grey in Cb and Cr


class StyleRuler:
    """Measures how far sets of images are from a reference set.

    Attributes:
        reference: The features of the reference set, a row per image.
    """

    def __init__(self, reference: Sequence[Image.Image]) -> None:
        histograms = _count_all(reference)
        # Each histogram counts in units of what two reference images differ in it on average:
        # what varies within the style (how dark the subject is) weighs less than what does not.
        self._units = [
            max(_measure_spread(histograms[:, each]), _SMALLEST_UNIT)
            for each in range(histograms.shape[1])
        ]
        self.reference = self._scale(histograms)

    def describe(self, images: Sequence[Image.Image]) -> Array:
        """Returns the features of images, a row each."""
        return self._scale(_count_all(images))

    def measure(self, images: Sequence[Image.Image]) -> float:
        """Returns the distance of a set of images to the reference set."""
        return measure_energy_distance(self.describe(images), self.reference)

    def _scale(self, histograms: Array) -> Array:
        units = np.array(self._units)[None, :, None] * math.sqrt(len(self._units))
        return (histograms / units).reshape(len(histograms), -1)


def measure_energy_distance(first: Array, second: Array) -> float:
    """Returns the unbiased energy distance of two sets: about 0 for two samples of one style.

    It can fall a little below zero, as an unbiased estimate of zero has to.
    """
    between = _measure_distances(first, second).mean()
    return float(2 * between - _measure_spread(first) - _measure_spread(second))


def _count_all(images: Sequence[Image.Image]) -> Array:
    return np.stack([_count_features(image) for image in images])


def _count_features(image: Image.Image) -> Array:
    """Returns the cumulated histograms of an image, a row each, [16, _BINS - 1].

    Cumulated, because then a line that is slightly less black differs slightly, and not as much
    as one that is white; the last value is always 1 and left out.
    """
    if image.size != (SIDE, SIDE):
        image = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    foreground = find_foreground(image)
    light, blue, red = _split_colour(image)
    colour = np.hypot(blue, red)
    histograms = [_count(light, 1.0, foreground), _count(colour, _MOST_COLOURFUL, foreground)]
    for width in WIDTHS:
        edges, dark_lines, light_lines = _measure_lines(light, width)
        colour_edges = np.hypot(_measure_edges(blue, width), _measure_edges(red, width))
        # The root spreads the weak answers, where shading and texture lie.
        histograms += [
            _count(np.sqrt(answer), math.sqrt(_STRONGEST), foreground)
            for answer in (edges, dark_lines, light_lines, colour_edges)
        ]
        if width <= _LINE_WIDTH:
            histograms.append(_count(light, 1.0, foreground * dark_lines))
    return np.cumsum(histograms, axis=1)[:, :-1]


def find_foreground(image: Image.Image) -> Array:
    """Returns 1 on the foreground, with a rim around it, and 0 on the white background.

    Without this, sets would differ by how much of the image their subjects fill.
    """
    darkest = Image.fromarray(np.asarray(image.convert("RGB")).min(axis=-1))
    inked = darkest.point([255 if level < _WHITE else 0 for level in range(256)])
    for _ in range(_RIM // 2):  # three small squares are one large one, and far cheaper
        inked = inked.filter(ImageFilter.MaxFilter(5))
    return np.asarray(inked, dtype=np.float64) / 255


def _measure_spread(rows: Array) -> float:
    """Mean distance of two different members; a member's distance to itself would bias it."""
    count = len(rows)
    return float(_measure_distances(rows, rows).sum() / (count * (count - 1)))


def _measure_distances(first: Array, second: Array) -> Array:
    distances: Array = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))
    return distances


def _split_colour(image: Image.Image) -> Array:
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
    across, down = _blur(light, width, (0, 2)), _blur(light, width, (2, 0))
    mixed = _blur(light, width, (1, 1))
    mean, half = (across + down) / 2, np.hypot((across - down) / 2, mixed)
    dark, bright = np.maximum(mean + half, 0), np.maximum(half - mean, 0)
    return _measure_edges(light, width), width**2 * dark, width**2 * bright


def _measure_edges(channel: Array, width: float) -> Array:
    return width * np.hypot(_blur(channel, width, (0, 1)), _blur(channel, width, (1, 0)))


def _blur(channel: Array, width: float, order: tuple[int, int]) -> Array:
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


def _count(values: Array, largest: float, weights: Array) -> Array:
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
