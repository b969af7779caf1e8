"""The style distance where the answer is known: its lower bound, its range and its controls."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.style_distance import StyleRuler, measure_energy_distance

Array = NDArray[np.float64]
_SPLITS = 200


def measure_floor(rows: Array) -> dict[str, float]:
    """Returns the distance of two random halves of one set: its mean and its 95th percentile."""
    distances = [measure_energy_distance(rows[a], rows[b]) for a, b in _split_randomly(len(rows))]
    return {"mean": float(np.mean(distances)), "percentile_95": float(np.percentile(distances, 95))}


def measure_through(ruler: StyleRuler, decoded: Sequence[Image.Image]) -> float:
    """Returns the distance of reference images to what became of the *other* half of them.

    Args:
        ruler: Whose reference set the images come from.
        decoded: The reference images after something was done to them, in the same order.
    """
    rows = ruler.describe(decoded)
    splits = _split_randomly(len(rows))
    return float(np.mean([measure_energy_distance(rows[a], ruler.reference[b]) for a, b in splits]))


def make_controls(
    base: Sequence[Image.Image], decoded: Sequence[Image.Image]
) -> dict[str, list[Image.Image]]:
    """Returns sets of images whose place in the order is known beforehand.

    Args:
        base: A set that the base model generated.
        decoded: The held-out images, seen through the VAE.
    """
    controls = {
        f"held-out images, blurred by {radius:g} px": [
            image.filter(ImageFilter.GaussianBlur(radius)) for image in decoded
        ]
        for radius in (0.5, 1.0, 2.0, 4.0)
    }
    controls["held-out images in grey"] = [p.convert("L").convert("RGB") for p in decoded]
    controls["base model's images at 80 % of their size"] = [shrink(p, 0.8) for p in base]
    noise = np.random.default_rng(0)
    controls["random noise"] = [
        Image.fromarray(noise.integers(0, 256, (p.height, p.width, 3), dtype=np.uint8))
        for p in base
    ]
    return controls


def shrink(image: Image.Image, factor: float) -> Image.Image:
    """Returns the image smaller, in the middle of a white page of the old size."""
    size = (round(image.width * factor), round(image.height * factor))
    page = Image.new("RGB", image.size, "white")
    corner = ((image.width - size[0]) // 2, (image.height - size[1]) // 2)
    page.paste(image.resize(size, Image.Resampling.LANCZOS), corner)
    return page


def _split_randomly(count: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    generator = np.random.default_rng(0)
    orders = [generator.permutation(count) for _ in range(_SPLITS)]
    return [(order[: count // 2], order[count // 2 :]) for order in orders]
