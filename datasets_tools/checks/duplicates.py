"""Which images show the same image: copies, resized, encoded anew, mirrored, cut out of another.

Each image is described by its 6 x 6 colours, as one vector; and so is each of 84 parts in it, of
70 to 100 % of its sides. Where the whole of one image is like a part of another, or its mirrored
copy is, that part is fitted exactly, and what is left of the difference decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets_tools.checks.measures import to_floats

Floats = NDArray[np.float32]

LIKELIEST = 0.75  # cosine of two descriptions from which on a pair is fitted
MOST_FITTED = 4  # parts that are fitted for each image
LARGEST_ERROR = 0.15  # of the worst of 8 x 8 cells, where 1 is white against black
CELLS = 6  # a side of the description
WORST_OF = 8  # cells a side that are looked at for what differs
FITTED_SIDE = 32
OUT_OF_REACH = 1.3  # times the largest error, after the first steps
SHARES = (1.0, 0.9, 0.8, 0.7)
STEP = 0.05  # between parts, as a share of the side
_FIRST_STEP, _LAST_STEP = 2.0, 0.25  # pixels of the copy, while fitting
_ROWS = 64  # images whose parts are compared at a time


@dataclass(frozen=True, order=True)
class Pair:
    """Two images that show the same image; `second` is the copy, or was cut out of `first`.

    Attributes:
        first, second: Their places in the list.
        error: What is left of the difference, see `LARGEST_ERROR`.
        mirrored: Whether one is mirrored.
    """

    first: int
    second: int
    error: float
    mirrored: bool


Part = tuple[float, float, float]  # left, top, share of the sides


def list_parts() -> list[Part]:
    """Returns the parts that are looked at in each image."""
    parts = []
    for share in SHARES:
        places = np.arange(round((1 - share) / STEP) + 1) * STEP
        parts += [(float(left), float(top), share) for top in places for left in places]
    return parts


def find_pairs(copies: NDArray[np.uint8], largest: float = LARGEST_ERROR) -> list[Pair]:
    """Returns the pairs among images.

    Args:
        copies: n x 64 x 64 x 3, as in `Measures`.
        largest: The error up to which two images are one image.
    """
    best: dict[tuple[int, int], Pair] = {}
    parts = list_parts()
    for outer, inner, part, mirrored in _find_candidates(copies, parts):
        key = (min(outer, inner), max(outer, inner))
        if key in best and best[key].error <= largest / 2:
            continue
        image = copies[inner][:, ::-1] if mirrored else copies[inner]
        error = fit_error(copies[outer], image, parts[part], largest)
        if error <= largest and (key not in best or error < best[key].error):
            best[key] = Pair(outer, inner, error, mirrored)
    return sorted(best.values())


def describe(copies: NDArray[np.uint8], parts: list[Part]) -> Floats:
    """Returns n x parts x 108: colours of each part less their mean, as unit vectors."""
    pixels = to_floats(copies)
    side = copies.shape[1]
    rows = []
    for left, top, share in parts:
        down, across = _average(top, share, side), _average(left, share, side)
        cells = np.einsum("ay,nyxc,bx->nabc", down, pixels, across, optimize=True)
        flat = cells.reshape(len(copies), -1)
        rows.append(flat - flat.mean(axis=1, keepdims=True))
    described = np.stack(rows, axis=1)
    length = np.linalg.norm(described, axis=2, keepdims=True)
    result: Floats = described / np.maximum(length, 1e-6)
    return result


def _average(start: float, share: float, side: int) -> Floats:
    """Returns the 6 x side matrix that averages the cells of a part along one axis."""
    bounds = (start + share * np.arange(CELLS + 1) / CELLS) * side
    pixel = np.arange(side)
    covered = np.minimum(bounds[1:, None], pixel + 1) - np.maximum(bounds[:-1, None], pixel)
    covered = np.clip(covered, 0, None)
    result: Floats = (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def _find_candidates(
    copies: NDArray[np.uint8], parts: list[Part]
) -> Iterator[tuple[int, int, int, bool]]:
    """Yields outer image, inner image, part and whether it is mirrored, the likeliest first."""
    count = len(copies)
    whole = describe(copies, parts[:1])[:, 0]
    turned = describe(copies[:, :, ::-1], parts[:1])[:, 0]
    hits: list[tuple[float, int, int, int, bool]] = []
    for start in range(0, count, _ROWS):
        described = describe(copies[start : start + _ROWS], parts)
        rows = len(described)
        for mirrored, targets in ((False, whole), (True, turned)):
            likeness = described.reshape(-1, described.shape[2]) @ targets.T
            likeness = likeness.reshape(rows, len(parts), count)
            part = likeness.argmax(axis=1)
            score = np.take_along_axis(likeness, part[:, None], axis=1)[:, 0]
            score[np.arange(rows), np.arange(start, start + rows)] = -1
            for row, inner in np.argwhere(score > LIKELIEST):
                one = (float(score[row, inner]), start + int(row), int(inner))
                hits.append((*one, int(part[row, inner]), mirrored))
    fitted = np.zeros(count, dtype=int)
    for _, outer, inner, place, mirrored in sorted(hits, reverse=True):
        if fitted[inner] < MOST_FITTED:
            fitted[inner] += 1
            yield outer, inner, place, mirrored


def fit_error(
    outer: NDArray[np.uint8], inner: NDArray[np.uint8], part: Part, largest: float = 1.0
) -> float:
    """Returns the error of the worst cell once a part of `outer` has been fitted to `inner`.

    The four sides of the part are moved, by ever smaller steps, as long as that helps and an
    error of `largest` is in reach: the worst cell is no better than the mean.
    """
    side = outer.shape[0]
    source = Image.fromarray(outer)
    target = _shrink(Image.fromarray(inner), (0, 0, side, side))
    left, top, share = (value * side for value in part)
    box = [left, top, min(left + share, side), min(top + share, side)]
    error = _mean_error(_shrink(source, tuple(box)), target)
    step = _FIRST_STEP
    while step >= _LAST_STEP:
        moved = False
        for edge in range(4):
            for change in (-step, step):
                tried = [*box]
                tried[edge] = min(max(tried[edge] + change, 0), side)
                if min(tried[2] - tried[0], tried[3] - tried[1]) < side / 2:
                    continue
                other = _mean_error(_shrink(source, tuple(tried)), target)
                if other < error - 1e-6:
                    box, error, moved = tried, other, True
        if not moved:
            step /= 2
            if error > (largest * OUT_OF_REACH) ** 2:
                break
    return worst_cell(_shrink(source, tuple(box)), target)


def _shrink(image: Image.Image, box: tuple[float, ...]) -> Floats:
    size = (FITTED_SIDE, FITTED_SIDE)
    small = image.resize(size, Image.Resampling.BILINEAR, box=(box[0], box[1], box[2], box[3]))
    return to_floats(np.asarray(small))


def _mean_error(one: Floats, other: Floats) -> float:
    return float(np.square(one - other).mean())


def worst_cell(one: Floats, other: Floats) -> float:
    """Returns the largest root mean square difference of 8 x 8 cells, 0 to 1."""
    size = FITTED_SIDE // WORST_OF
    square = np.square(one - other).reshape(WORST_OF, size, WORST_OF, size, 3).mean(axis=(1, 3, 4))
    return float(np.sqrt(square.max()))
