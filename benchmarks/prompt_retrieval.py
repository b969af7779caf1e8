"""Whether an image still shows its prompt: it must find it among the base model's own images.

What an image shows is described by its latents averaged down to 8 x 8: layout
and colour areas, no lines. A prompt is represented by the mean of what the base model generates for
it with *other* seeds, so that no noise is shared; an image counts as right where its own prompt is
the nearest of all (top 1) or among the five nearest (top 5). By chance that is 1/24 and 5/24.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.images import encode
from trainer.models import Family

Array = NDArray[np.float64]
_DETAIL = 8  # cells along a side


@dataclass(frozen=True)
class Retrieval:
    """Shares of the images, 0 .. 1."""

    top1: float
    top5: float


def describe_content(family: Family, sets: Sequence[Sequence[Image.Image]]) -> Array:
    """Returns coarse latents, [seeds, prompts, values], without what all images share.

    The shared part is the style and the white ground; it would make everything look alike.
    """
    rows = []
    for images in sets:
        coarse = torch.nn.functional.adaptive_avg_pool2d(encode(family, images), _DETAIL)
        rows.append(coarse.flatten(1).cpu().double().numpy())
    values: Array = np.stack(rows)
    values -= values.mean(axis=(0, 1))
    return values


def retrieve_prompts(queries: Array, known: Array) -> Retrieval:
    """Returns how often queries find their prompt among the known images of other seeds.

    Args:
        queries: [seeds, prompts, values].
        known: The base model's images, of the same seeds and prompts, at least two seeds.
    """
    ranks = []
    for seed in range(len(queries)):
        others = np.delete(known, seed, axis=0).mean(axis=0)
        likeness = _normalise(queries[seed]) @ _normalise(others).T
        own = np.diag(likeness)[:, None]
        ranks.append((likeness > own).sum(axis=1))
    places = np.concatenate(ranks)
    return Retrieval(top1=float((places < 1).mean()), top5=float((places < 5).mean()))


def _normalise(rows: Array) -> Array:
    lengths: Array = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit: Array = rows / lengths
    return unit
