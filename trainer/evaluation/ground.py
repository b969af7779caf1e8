"""What of an image is ground, what stands on it, and the separate parts of that.

The ground is what reaches the border of the image and has nearly the border's colour. Photographs
and scenes mostly have none: `Ground.uniform` shows where the border has no one colour.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from trainer.evaluation.histograms import fit

Mask = NDArray[np.bool_]

_BORDER = 3  # pixels
_SAME = 40  # grey levels, in the channel that differs most; more is no longer ground
_LEAST_UNIFORM = 0.6  # share of the border that must have its colour


@dataclass(frozen=True)
class Ground:
    """An image divided into ground and silhouette, at `histograms.SIDE`.

    Attributes:
        colour: The median of the border, RGB.
        uniform: Whether the border mostly has that colour; without it there is no ground.
        difference: How far each pixel is from that colour, in grey levels, [SIDE, SIDE].
        silhouette: What is not ground; what an outline encloses belongs to it, [SIDE, SIDE].
    """

    colour: tuple[float, float, float]
    uniform: bool
    difference: NDArray[np.float64]
    silhouette: Mask


def measure_ground(image: Image.Image) -> Ground:
    """Divides an image into ground and what stands on it."""
    values = np.asarray(fit(image), dtype=np.float64)
    border = np.ones(values.shape[:2], dtype=bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    colour = np.median(values[border], axis=0)
    difference = np.abs(values - colour).max(axis=-1)
    alike = difference <= _SAME
    uniform = bool(alike[border].mean() >= _LEAST_UNIFORM)
    silhouette = ~_reach_from_border(alike) if uniform else np.ones_like(alike)
    red, green, blue = map(float, colour)
    return Ground((red, green, blue), uniform, difference, silhouette)


def list_parts(mask: Mask) -> list[int]:
    """Returns the areas in pixels of a mask's parts, the largest first; corners connect."""
    parents: list[int] = []
    areas: list[int] = []
    above: list[tuple[int, int, int]] = []  # runs of the row before: start, end, number
    for row in mask:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]))).tolist()
        runs = []
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            number = len(parents)
            parents.append(number)
            areas.append(end - start)
            runs.append((start, end, number))
            for other_start, other_end, other in above:
                if other_start <= end and start <= other_end:
                    parents[_find_root(parents, number)] = _find_root(parents, other)
        above = runs
    sums: dict[int, int] = {}
    for number, area in enumerate(areas):
        root = _find_root(parents, number)
        sums[root] = sums.get(root, 0) + area
    return sorted(sums.values(), reverse=True)


def _find_root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = number = parents[parents[number]]
    return number


def widen(mask: Mask, pixels: int) -> Mask:
    """Returns a mask with a rim of so many pixels around it."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    for _ in range(pixels):
        image = image.filter(ImageFilter.MaxFilter(3))
    return np.asarray(image) > 0


def _reach_from_border(alike: Mask) -> Mask:
    """Returns what of a mask is connected to the border, by growing along it until nothing is new.

    Sweeps in four directions reach around corners in a few rounds, where one pixel a round would
    take hundreds.
    """
    reached = np.zeros_like(alike)
    for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        reached[edge] = alike[edge]
    before = -1
    while before != (before := int(reached.sum())):
        for turned in range(4):
            grown, allowed = np.rot90(reached, turned), np.rot90(alike, turned)
            for row in range(1, len(grown)):
                grown[row] |= grown[row - 1] & allowed[row]
    return reached
