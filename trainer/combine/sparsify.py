"""Sparse deltas and their sums: the steps that TIES and DARE consist of.

The matrices are computed a few rows at a time, so that intermediate results stay in the
processor's cache; only the result is stored whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.combine.delta import Delta
from trainer.config import MajoritySign

_BLOCK_NUMBERS = 1 << 18


@dataclass(frozen=True)
class SparseDelta:
    """A delta with some of its numbers set to zero.

    Attributes:
        delta: The full one.
        least: Numbers of a smaller magnitude are zero.
        mask: Which of the others are kept, [out, in * k * k]; None keeps all.
        density: What the remaining numbers are divided by.
    """

    delta: Delta
    least: float = 0.0
    mask: Tensor | None = None
    density: float = 1.0

    def make_rows(self, rows: slice) -> Tensor:
        """Returns some rows of the matrix."""
        numbers = self.delta.multiply_rows(rows)
        if self.least > 0:
            # It zeroes what is not larger than its argument, and `least` itself has to be kept.
            below = float(np.nextafter(np.float32(self.least), np.float32(0)))
            numbers = functional.hardshrink(numbers, below)
        if self.mask is not None:
            numbers = (numbers * self.mask[rows]).div_(self.density)
        return numbers


def trim(delta: Delta, density: float) -> SparseDelta:
    """Returns a delta that keeps this share of the numbers, the largest ones."""
    rows, columns = delta.sides
    count = int(density * rows * columns)
    if density >= 1:
        return SparseDelta(delta)
    if count == 0:
        return SparseDelta(delta, least=float("inf"))
    sizes = torch.empty(rows, columns)
    for some in list_blocks(rows, columns):
        torch.abs(delta.multiply_rows(some), out=sizes[some])
    # NumPy selects three times as fast as torch.kthvalue, in place.
    numbers = sizes.flatten().numpy()
    numbers.partition(numbers.size - count)
    return SparseDelta(delta, least=float(numbers[numbers.size - count]))


def drop_and_rescale(delta: Delta, density: float, generator: torch.Generator) -> SparseDelta:
    """Returns a delta that keeps a random share of the numbers, rescaled by its inverse."""
    if density >= 1:
        return SparseDelta(delta)
    rows, columns = delta.sides
    mask = torch.empty(rows, columns, dtype=torch.bool)
    for some in list_blocks(rows, columns):
        # The same random numbers as torch.bernoulli, in half the time.
        torch.lt(torch.rand(mask[some].shape, generator=generator), density, out=mask[some])
    return SparseDelta(delta, mask=mask, density=density)


def add_weighted(deltas: Sequence[SparseDelta], weights: Sequence[float]) -> Tensor:
    """Returns the weighted sum, [out, in * k * k]."""
    rows, columns = deltas[0].delta.sides
    total = torch.zeros(rows, columns)
    for some in list_blocks(rows, columns):
        for delta, weight in zip(deltas, weights, strict=True):
            total[some].add_(delta.make_rows(some), alpha=weight)
    return total


def add_by_sign(
    deltas: Sequence[SparseDelta], weights: Sequence[float], majority_sign: MajoritySign
) -> Tensor:
    """Returns the mean of those deltas that have the majority sign, element by element.

    The sign is elected before weighting; the sum is divided by how many deltas agree.
    """
    rows, columns = deltas[0].delta.sides
    result = torch.empty(rows, columns)
    for some in list_blocks(rows, columns):
        blocks = [delta.make_rows(some) for delta in deltas]
        signs = blocks if majority_sign == "total" else [block.sign() for block in blocks]
        total = torch.zeros_like(blocks[0])
        for sign in signs:
            total += sign  # never -0.0, as it starts from 0.0
        elected = torch.copysign(torch.ones(()), total)
        total, count = torch.zeros_like(elected), torch.zeros_like(elected)
        for block, weight in zip(blocks, weights, strict=True):
            agreeing = (block * elected).clamp_min_(0)
            total.add_(agreeing, alpha=weight)
            count.add_(agreeing.sign_())
        torch.div(total.mul_(elected), count.clamp_min_(1), out=result[some])
    return result


def list_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yields the rows of a matrix, so many at a time that they stay in the cache."""
    step = max(_BLOCK_NUMBERS // columns, 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
