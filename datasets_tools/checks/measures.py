"""What the checks measure on one image: numbers only, from one small copy of it.

Grey is Rec. 601 luma of the sRGB values, 0 to 1. All measures look at the *working copy*: the image
on white, at most as large as it is trained, so that a fault which training cannot see is none.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

WORKING_SIDE = 512  # the working copy has at most the area of this square
QUICK_SIDE = 256  # about the side of what all but sharpness is measured on
COPY_SIDE = 64  # the side of the copy that images are compared with
LAYOUT_CELLS = 8
TINY = 1e-6
PALETTE_LEVELS = 4
EDGE_SPAN = 16  # pixels across which the contrast of an edge is taken
EDGE_CONTRAST = 0.12  # what is less is texture and noise
FEWEST_EDGES = 40
SHARPEST_SHARE = 90  # percentile: a subject in focus before a soft background is sharp
BORDER_SHARE = 0.06
SAME_COLOUR = 10 / 255
FLAT_BORDER = 0.6  # the share of a border of one colour that makes it a plain background
NEAR_WHITE = 0.98
NO_GRADIENT = 1.5 / 255  # across and down together
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Measures:
    """What is known of one image.

    Attributes:
        sharpness: How much of an edge's contrast lies within one pixel, at the sharpest tenth of
            the edges, 0 to 1; NaN where there are too few edges.
        spread: Standard deviation of the colours after averaging to 64 x 64, of the channel in
            which it is largest.
        low: Grey below which 2 % of the content lie; a plain background is no content.
        high: Grey below which 98 % of the whole image lie.
        white: Share of the content that is white.
        flat: Share of the pixels with no gradient.
        transparent: Share of the pixels that are not opaque.
        plain: Share of the border within `SAME_COLOUR` of its median colour.
        border: That colour, three values of 0 to 1.
        palette: Square roots of the shares of 64 colours.
        layout: Where the edges are, 8 x 8, as a unit vector without its mean.
        copy: The image squeezed to 64 x 64, 8-bit RGB.
    """

    sharpness: float
    spread: float
    low: float
    high: float
    white: float
    flat: float
    transparent: float
    plain: float
    border: Floats
    palette: Floats
    layout: Floats
    copy: NDArray[np.uint8]


def measure(working: Image.Image, transparent: float = 0.0) -> Measures:
    """Returns the measures of a working copy.

    Args:
        working: 8-bit RGB, upright, on white.
        transparent: The share of the image's pixels that were not opaque.
    """
    side = max(1, round((working.width * working.height) ** 0.5 / QUICK_SIDE))
    pixels = to_floats(np.asarray(working.reduce(side)))
    grey = pixels @ LUMA
    copy = np.asarray(working.resize((COPY_SIDE, COPY_SIDE), Image.Resampling.BOX))
    small = to_floats(copy)
    border, plain = measure_border(pixels)
    exposure = measure_exposure(pixels, grey, border, plain)
    return Measures(
        sharpness=measure_sharpness(np.asarray(working.convert("L"), dtype=np.int16)),
        spread=float(small.reshape(-1, 3).std(axis=0).max()),
        **exposure,
        flat=measure_flatness(grey),
        transparent=transparent,
        plain=plain,
        border=border,
        palette=measure_palette(copy),
        layout=measure_layout(small @ LUMA),
        copy=copy,
    )


def to_floats(values: NDArray[np.uint8]) -> Floats:
    """Returns 8-bit values as 0 to 1."""
    return np.multiply(values, np.float32(1 / 255), dtype=np.float32)


def measure_sharpness(grey: NDArray[np.int16]) -> float:
    """Returns which part of its contrast an edge has within one pixel; NaN for too few edges.

    For a step that a Gaussian of s pixels has blurred it is erf(0.5 / (s sqrt 2)), while the span
    holds all of the step. It depends neither on the contrast nor on how much of the image is flat,
    so illustrations and photographs share one scale.

    Args:
        grey: 0 to 255.
    """
    ratios = np.concatenate([_edge_ratios(grey), _edge_ratios(grey.T)])
    if len(ratios) < FEWEST_EDGES:
        return float("nan")
    return float(np.percentile(ratios, SHARPEST_SHARE))


def _edge_ratios(grey: NDArray[np.int16]) -> Floats:
    """Returns, for each edge across the rows, its steepest step as a part of its contrast."""
    if grey.shape[1] <= EDGE_SPAN + 1:
        return np.empty(0, dtype=np.float32)
    steps = np.abs(np.diff(grey, axis=1))
    half = EDGE_SPAN // 2
    contrast = _roll(np.maximum, grey) - _roll(np.minimum, grey)
    width = contrast.shape[1]
    inner = steps[:, half : half + width]
    chosen = contrast > EDGE_CONTRAST * 255
    chosen &= inner * EDGE_SPAN >= contrast  # what is less steep than a ramp is beside the edge
    chosen &= inner >= steps[:, half - 1 : half - 1 + width]
    chosen &= inner >= steps[:, half + 1 : half + 1 + width]
    ratios: Floats = inner[chosen].astype(np.float32) / contrast[chosen]
    return ratios


def _roll(pick: Any, grey: NDArray[np.int16]) -> NDArray[np.int16]:
    """Returns the largest or smallest of each 16 neighbours in a row."""
    for shift in (1, 2, 4, 8):
        grey = pick(grey[:, shift:], grey[:, :-shift])
    return grey


def measure_border(pixels: Floats) -> tuple[Floats, float]:
    """Returns the median colour of the border, and the share of the border that has it."""
    ring = _ring(pixels)
    colour = np.median(ring, axis=0)
    same = (np.abs(ring - colour) <= SAME_COLOUR).all(axis=1)
    return colour.astype(np.float32), float(same.mean())


def _ring(pixels: Floats) -> Floats:
    height, width = pixels.shape[:2]
    edge = max(1, round(min(height, width) * BORDER_SHARE))
    parts = (
        pixels[:edge], pixels[-edge:], pixels[edge:-edge, :edge], pixels[edge:-edge, -edge:]
    )  # fmt: skip
    return np.concatenate([part.reshape(-1, pixels.shape[2]) for part in parts])


def measure_exposure(
    pixels: Floats, grey: Floats, border: Floats, plain: float
) -> dict[str, float]:
    """Returns how bright the content is, and how much of it is clipped."""
    content = grey.ravel()
    if plain >= FLAT_BORDER:
        differs = (np.abs(pixels - border) > SAME_COLOUR).any(axis=2).ravel()
        if differs.sum() >= FEWEST_EDGES:
            content = content[differs]
    return {
        "low": float(np.percentile(content, 2)),
        "high": float(np.percentile(grey, 98)),
        "white": float((content >= NEAR_WHITE).mean()),
    }


def measure_palette(copy: NDArray[np.uint8]) -> Floats:
    """Returns the square roots of the shares of 4 x 4 x 4 colours: a unit vector."""
    levels = (copy.astype(np.int64) * PALETTE_LEVELS) >> 8
    index = (levels[..., 0] * PALETTE_LEVELS + levels[..., 1]) * PALETTE_LEVELS + levels[..., 2]
    counts = np.bincount(index.ravel(), minlength=PALETTE_LEVELS**3)
    result: Floats = np.sqrt(counts / counts.sum()).astype(np.float32)
    return result


def measure_layout(grey: Floats) -> Floats:
    """Returns where the edges are: the mean gradient in 8 x 8 cells, less its mean.

    It is a unit vector; all zeros where the gradient is the same everywhere.
    """
    gradient = np.zeros_like(grey)
    gradient[:, 1:] += np.abs(np.diff(grey, axis=1))
    gradient[1:] += np.abs(np.diff(grey, axis=0))
    size = len(grey) // LAYOUT_CELLS
    cells = gradient.reshape(LAYOUT_CELLS, size, LAYOUT_CELLS, size).mean(axis=(1, 3)).ravel()
    cells = cells - cells.mean()
    length = max(float(np.linalg.norm(cells)), TINY)
    result: Floats = (cells / length).astype(np.float32)
    return result


def measure_flatness(grey: Floats) -> float:
    """Returns the share of pixels with no gradient: high in illustrations, low in photographs."""
    across = np.abs(np.diff(grey, axis=1))[:-1]
    down = np.abs(np.diff(grey, axis=0))[:, :-1]
    return float((across + down < NO_GRADIENT).mean())


def stack(measured: list[Measures]) -> dict[str, NDArray[Any]]:
    """Returns the measures of several images as one array for each of them."""
    return {
        one.name: np.array([getattr(m, one.name) for m in measured]) for one in fields(Measures)
    }
