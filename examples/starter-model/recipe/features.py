"""A fixed description of an image: colour areas and directions of edges. Nothing is trained."""

import torch
from torch import Tensor
from torch.nn import functional

_COLOUR_CELLS = 16  # cells along a side
_EDGE_CELLS = 8
_DIRECTIONS = 8
_EDGE_WEIGHT = 0.5  # of edges against colours; each part alone has length one


def describe(images: Tensor) -> Tensor:
    """Returns unit vectors, fp32, [B, values]; their product is the likeness of two images.

    Colours are averaged over 16 x 16 cells, as differences from white, so that an empty margin
    counts for nothing. Edges are sorted into 8 directions in 8 x 8 cells (as histograms of
    oriented gradients, Dalal and Triggs 2005), which knows shapes where colours are alike.

    Args:
        images: In -1 .. 1, [B, 3, h, w].
    """
    images = images.float()
    colours = functional.adaptive_avg_pool2d(1 - images, _COLOUR_CELLS).flatten(1)
    parts = torch.cat((_normalise(colours), _EDGE_WEIGHT * _normalise(_sort_edges(images))), dim=1)
    return _normalise(parts)


def rank_own(queries: Tensor, known: Tensor, own: Tensor) -> Tensor:
    """Returns how many known images are nearer to each query than its own one is, [Q].

    A drawing that a set holds twice under two names does not count against itself.

    Args:
        queries: From `describe`, [Q, values].
        known: From `describe`, [K, values].
        own: Index into `known` of what each query ought to show, [Q].
    """
    likeness = queries @ known.T
    own_likeness = likeness.gather(1, own[:, None])
    twins = known @ known.T > 1 - 1e-5
    nearer = (likeness > own_likeness) & ~twins[own]
    return nearer.sum(dim=1)


def _sort_edges(images: Tensor) -> Tensor:
    gray = images.mean(dim=1, keepdim=True)
    # Fine texture and the noise of a decoder are no edges.
    gray = functional.avg_pool2d(gray, 3, stride=1, padding=1, count_include_pad=False)
    across = functional.pad(gray[..., 2:] - gray[..., :-2], (1, 1))
    down = functional.pad(gray[..., 2:, :] - gray[..., :-2, :], (0, 0, 1, 1))
    strength = (across.square() + down.square()).sqrt()
    # A line is the same seen from either side, so directions go half round.
    angle = torch.atan2(down, across) % torch.pi
    bins = (angle / torch.pi * _DIRECTIONS).long().clamp(max=_DIRECTIONS - 1)
    sorted_edges = torch.zeros(len(gray), _DIRECTIONS, *gray.shape[2:], device=gray.device)
    sorted_edges.scatter_(1, bins, strength)
    return functional.adaptive_avg_pool2d(sorted_edges, _EDGE_CELLS).sqrt().flatten(1)


def _normalise(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=1, eps=1e-8)
