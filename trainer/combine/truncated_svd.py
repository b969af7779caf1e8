"""The strongest directions of a large matrix, without taking all of it apart."""

import torch
from torch import Tensor

# More directions than are wanted go along: those that are wanted settle the sooner for it.
_SPARE = 8
# With less room than this for directions an exact decomposition takes no longer.
_LEAST_ROOM = 4
_MOST_ROUNDS = 8
# The share of the matrix's energy by which the result may fall short of the best one.
_TOLERANCE = 5e-4
# Of the start; what is found differs by rounding with another one.
_SEED = 2011

Directions = tuple[Tensor, Tensor, Tensor]


def find_leading(matrix: Tensor, rank: int) -> Directions | None:
    """Returns U, values and V of the strongest directions; None where that is no gain or fails.

    A randomised range finder (Halko, Martinsson and Tropp 2011, arXiv:0909.4061) whose power
    iterations keep the directions found so far beside the new ones, which is a block Krylov method
    (Musco and Musco 2015, arXiv:1504.05477) that forgets all but the last round. Each round reads
    the matrix twice. It ends when the next rounds can hardly find any more energy: the gains of
    rounds shrink by a factor, and all that could follow is their geometric series.

    Args:
        matrix: [out, in]
        rank: How many directions are wanted.
    """
    swapped = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if swapped else matrix
    short, long = wide.shape
    block = 2 * rank + _SPARE
    if short < _LEAST_ROOM * block:
        return None
    total = measure_squares(matrix)
    if total == 0:
        return matrix[:, :0], matrix[0, :0], matrix.T[:, :0]
    generator = torch.Generator().manual_seed(_SEED)
    fresh = wide @ torch.randn(long, block, generator=generator)  # [short, block]
    basis, images = wide.new_empty(short, 0), wide.new_empty(long, 0)
    shares: list[float] = []
    for _ in range(_MOST_ROUNDS):
        added = _turn_from(basis, fresh)
        basis = torch.cat([basis, added], dim=1)
        images = torch.cat([images, wide.T @ added], dim=1)
        squares, turn = torch.linalg.eigh((images.T @ images).double())  # in rising order
        turn = turn.flip(1)[:, :block].float()
        basis, images = basis @ turn, images @ turn
        shares.append(float(squares[-rank:].sum()) / total)
        if _is_settled(shares):
            images = images[:, :rank]
            values = torch.linalg.vector_norm(images, dim=0)
            parts = (basis[:, :rank], images / values.clamp_min(torch.finfo(values.dtype).tiny))
            return (parts[1], values, parts[0]) if swapped else (parts[0], values, parts[1])
        fresh = wide @ images
    return None


def _turn_from(basis: Tensor, fresh: Tensor) -> Tensor:
    """Returns an orthonormal basis of what some directions add to those of another basis.

    By small Gram matrices in fp64, twice for what rounding leaves the first time. (A QR
    decomposition by the library takes ten times as long where two threads share a busy machine.)
    """
    wide, before = fresh.double(), basis.double()
    for _ in range(2):
        wide = wide - before @ (before.T @ wide)
        wide = wide / torch.linalg.vector_norm(wide, dim=0).clamp_min(1e-300)
        squares, turn = torch.linalg.eigh(wide.T @ wide)
        kept = squares > 1e-10 * squares.sum()
        wide = wide @ (turn[:, kept] / squares[kept].sqrt())
    return wide.float()


def measure_squares(matrix: Tensor) -> float:
    """Returns the sum of the squares of all numbers."""
    return sum(float(torch.dot(part, part)) for part in matrix.flatten().split(1 << 20))


def _is_settled(shares: list[float]) -> bool:
    """Whether further rounds can hardly find any more energy; three are needed to tell."""
    if len(shares) < 3:
        return False
    before, gain = shares[-2] - shares[-3], shares[-1] - shares[-2]
    if gain <= 0:
        return True
    factor = gain / before if before > 0 else 1.0
    # What the gains add up to from here on; twice that, because they may shrink more slowly later.
    return factor < 1 and 2 * gain * factor / (1 - factor) <= _TOLERANCE
