"""Whether images with an adapter still show what the base model shows for the same noise.

Two descriptions are compared, each as a cosine: *content*, the latents averaged down to 8 x 8 cells
and freed of what all images of a set share (the style, the ground); and *outlines*, the strength of
edges blurred to a coarse scale, which does not change when colours are replaced or turned around.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.evaluation.histograms import SIDE, Array, blur, fit, measure_edges, split_colour

CELLS = 8  # along a side
_EDGE_WIDTH = 2.0  # pixels
_COARSENESS = 4.0  # pixels by which an outline may move


def describe_content(latents: Tensor) -> Array:
    """Returns coarse latents without the mean of the set, a row each.

    Args:
        latents: [images, C, h, w].
    """
    coarse = torch.nn.functional.adaptive_avg_pool2d(latents.float(), CELLS)
    rows: Array = coarse.flatten(1).cpu().double().numpy()
    return rows - rows.mean(axis=0)


def describe_outlines(images: Sequence[Image.Image]) -> Array:
    """Returns where the edges of images are, coarsely, a row each, each without its mean."""
    rows = []
    for image in images:
        light = split_colour(fit(image))[0]
        edges = blur(measure_edges(light, _EDGE_WIDTH), _COARSENESS, (0, 0))
        rows.append(edges.reshape(SIDE * SIDE) - edges.mean())
    return np.stack(rows)


def compare_rows(first: Array, second: Array) -> Array:
    """Returns the cosine of each pair of rows, -1 .. 1; 0 where one is zero."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products: Array = (first * second).sum(axis=1)
    return np.where(lengths > 1e-12, products / np.maximum(lengths, 1e-12), 0.0)
