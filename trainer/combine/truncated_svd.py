"""Truncated SVD of a large matrix: its largest singular values and vectors only."""

import torch
from torch import Tensor

# Additional vectors, with which the requested ones converge sooner.
_OVERSAMPLING = 8
# With a shorter side below this many blocks an exact decomposition takes no longer.
_MIN_SIZE_RATIO = 4
_MAX_ITERATIONS = 8
# How much of the matrix's energy the result may miss, compared with the exact SVD.
_TOLERANCE = 5e-4
# Of the initial vectors; another seed changes the result by rounding only.
_SEED = 2011

Triplets = tuple[Tensor, Tensor, Tensor]  # U, singular values, V


def compute_truncated_svd(matrix: Tensor, rank: int) -> Triplets | None:
    """Returns U, values and V for the largest singular values; None where exact SVD is better.

    A randomised range finder (Halko, Martinsson and Tropp 2011, arXiv:0909.4061) whose power
    iterations keep the previous basis beside the new vectors, which is a block Krylov method
    (Musco and Musco 2015, arXiv:1504.05477) truncated to the last iteration. Each iteration reads
    the matrix twice. It ends when further iterations can add almost no energy: the gains shrink
    by a factor, and what could follow is bounded by their geometric series. None is also the
    result where it does not converge.

    Args:
        matrix: [out, in]
        rank: How many singular values to compute.
    """
    swapped = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if swapped else matrix
    short, long = wide.shape
    block = 2 * rank + _OVERSAMPLING
    if short < _MIN_SIZE_RATIO * block:
        return None
    total = measure_squares(matrix)
    if total == 0:
        return matrix[:, :0], matrix[0, :0], matrix.T[:, :0]
    generator = torch.Generator().manual_seed(_SEED)
    new = wide @ torch.randn(long, block, generator=generator)  # [short, block]
    basis, images = wide.new_empty(short, 0), wide.new_empty(long, 0)
    shares: list[float] = []
    for _ in range(_MAX_ITERATIONS):
        added = _orthonormalise_against(basis, new)
        basis = torch.cat([basis, added], dim=1)
        images = torch.cat([images, wide.T @ added], dim=1)
        squares, rotation = torch.linalg.eigh((images.T @ images).double())  # in ascending order
        rotation = rotation.flip(1)[:, :block].float()
        basis, images = basis @ rotation, images @ rotation
        shares.append(float(squares[-rank:].sum()) / total)
        if _has_converged(shares):
            images = images[:, :rank]
            values = torch.linalg.vector_norm(images, dim=0)
            parts = (basis[:, :rank], images / values.clamp_min(torch.finfo(values.dtype).tiny))
            return (parts[1], values, parts[0]) if swapped else (parts[0], values, parts[1])
        new = wide @ images
    return None


def _orthonormalise_against(basis: Tensor, new: Tensor) -> Tensor:
    """Returns an orthonormal basis of what new vectors add to another basis.

    By small Gram matrices in fp64, twice because of rounding. (A QR
    decomposition by the library takes ten times as long where two threads share a busy machine.)
    """
    wide, before = new.double(), basis.double()
    for _ in range(2):
        wide = wide - before @ (before.T @ wide)
        wide = wide / torch.linalg.vector_norm(wide, dim=0).clamp_min(1e-300)
        squares, rotation = torch.linalg.eigh(wide.T @ wide)
        nonzero = squares > 1e-10 * squares.sum()
        wide = wide @ (rotation[:, nonzero] / squares[nonzero].sqrt())
    return wide.float()


def measure_squares(matrix: Tensor) -> float:
    """Returns the sum of the squares of all numbers."""
    return sum(float(torch.dot(part, part)) for part in matrix.flatten().split(1 << 20))


def _has_converged(shares: list[float]) -> bool:
    """Whether further iterations can add almost no energy; three are needed to estimate that."""
    if len(shares) < 3:
        return False
    before, gain = shares[-2] - shares[-3], shares[-1] - shares[-2]
    if gain <= 0:
        return True
    factor = gain / before if before > 0 else 1.0
    # The sum of the remaining gains; twice that, because they may shrink more slowly later.
    return factor < 1 and 2 * gain * factor / (1 - factor) <= _TOLERANCE
