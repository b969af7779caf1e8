"""Changes of which only some numbers stay, and merging them: what TIES and DARE consist of.

Their matrices are made a few rows at a time, so that what is computed with them stays in the
processor's cache; only the result is whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.combine.delta import Change
from trainer.config import MajoritySign

_BLOCK_NUMBERS = 1 << 18


@dataclass(frozen=True)
class ThinChange:
    """A change without some of its numbers.

    Attributes:
        change: With all of them.
        least: Numbers of a smaller size are zero.
        drawn: Which of the others stay, [out, in * k * k]; all without it.
        density: What those that stay are divided by.
    """

    change: Change
    least: float = 0.0
    drawn: Tensor | None = None
    density: float = 1.0

    def make_rows(self, rows: slice) -> Tensor:
        """Returns some rows of the matrix."""
        numbers = self.change.multiply_rows(rows)
        if self.least > 0:
            # It sets to zero what is not larger than its argument: `least` itself has to stay.
            below = float(np.nextafter(np.float32(self.least), np.float32(0)))
            numbers = functional.hardshrink(numbers, below)
        if self.drawn is not None:
            numbers = (numbers * self.drawn[rows]).div_(self.density)
        return numbers


def trim(change: Change, density: float) -> ThinChange:
    """Returns a change of which this share of the numbers stays, the largest ones."""
    rows, columns = change.sides
    count = int(density * rows * columns)
    if density >= 1:
        return ThinChange(change)
    if count == 0:
        return ThinChange(change, least=float("inf"))
    sizes = torch.empty(rows, columns)
    for some in list_blocks(rows, columns):
        torch.abs(change.multiply_rows(some), out=sizes[some])
    # NumPy selects three times as fast as torch.kthvalue, in place.
    numbers = sizes.flatten().numpy()
    numbers.partition(numbers.size - count)
    return ThinChange(change, least=float(numbers[numbers.size - count]))


def draw(change: Change, density: float, generator: torch.Generator) -> ThinChange:
    """Returns a change of which this share of the numbers stays by chance, so much larger."""
    if density >= 1:
        return ThinChange(change)
    rows, columns = change.sides
    drawn = torch.empty(rows, columns, dtype=torch.bool)
    for some in list_blocks(rows, columns):
        # The same draws as torch.bernoulli makes, in half the time.
        torch.lt(torch.rand(drawn[some].shape, generator=generator), density, out=drawn[some])
    return ThinChange(change, drawn=drawn, density=density)


def add_weighted(changes: Sequence[ThinChange], weights: Sequence[float]) -> Tensor:
    """Returns the weighted sum, [out, in * k * k]."""
    rows, columns = changes[0].change.sides
    total = torch.zeros(rows, columns)
    for some in list_blocks(rows, columns):
        for change, weight in zip(changes, weights, strict=True):
            total[some].add_(change.make_rows(some), alpha=weight)
    return total


def add_by_sign(
    changes: Sequence[ThinChange], weights: Sequence[float], majority_sign: MajoritySign
) -> Tensor:
    """Returns the mean of those changes that have the sign of the majority, number by number.

    The sign is elected before the weights; what is divided by is how many changes agree.
    """
    rows, columns = changes[0].change.sides
    result = torch.empty(rows, columns)
    for some in list_blocks(rows, columns):
        blocks = [change.make_rows(some) for change in changes]
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
