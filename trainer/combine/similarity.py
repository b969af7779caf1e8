"""How much adapters get in each other's way when they are merged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from math import sqrt
from typing import Any

import torch

from trainer.combine.delta import Change, join, measure_energy, multiply_inner
from trainer.combine.sparsify import list_blocks


@dataclass(frozen=True)
class LayerInterference:
    """One layer of a merge.

    Attributes:
        layer: Its name.
        files: Numbers of the files that change it, from 0.
        norms: Frobenius norm of each file's weighted change.
        cosines: Per pair of those files, in order: 1 where they say the same, -1 where they undo
            each other.
        sign_conflicts: Share of the weight's numbers that some file raises and another lowers; -1
            where it was not counted.
        lost: Squared distance of the result from the weighted sum, as a share of the sum's squared
            norm; 0 for an exact merge.
        rank: Of the result.
        cut: Share of what the method made that the rank cannot hold; 0 for an exact one.
    """

    layer: str
    files: list[int]
    norms: list[float]
    cosines: list[float]
    sign_conflicts: float
    lost: float
    rank: int
    products: list[float] = field(repr=False)
    sum_energy: float = 0.0
    cut: float = 0.0


@dataclass
class InterferenceReport:
    """All layers of a merge, and what they come to as a whole."""

    layers: list[LayerInterference] = field(default_factory=list)

    @property
    def cosines(self) -> dict[tuple[int, int], float]:
        """Per pair of files: the cosine between the whole changes, over the layers of both."""
        inner: dict[tuple[int, int], float] = {}
        squares: dict[tuple[int, int], list[float]] = {}
        for each in self.layers:
            numbered = list(zip(each.files, each.norms, strict=True))
            pairs = combinations(numbered, 2)
            for ((one, norm), (other, norm2)), product in zip(pairs, each.products, strict=True):
                pair = (one, other)
                inner[pair] = inner.get(pair, 0.0) + product
                sums = squares.setdefault(pair, [0.0, 0.0])
                sums[0] += norm**2
                sums[1] += norm2**2
        return {
            pair: product / sqrt(squares[pair][0] * squares[pair][1]) if all(squares[pair]) else 0.0
            for pair, product in inner.items()
        }

    @property
    def sign_conflicts(self) -> float:
        """Mean over the layers where it was counted; -1 for none."""
        counted = [each.sign_conflicts for each in self.layers if each.sign_conflicts >= 0]
        return sum(counted) / len(counted) if counted else -1.0

    @property
    def lost(self) -> float:
        """Share of the weighted sum's squared norm that the result misses or adds, over all."""
        total = sum(each.sum_energy for each in self.layers)
        return sum(e.lost * e.sum_energy for e in self.layers) / total if total else 0.0

    @property
    def cut(self) -> float:
        """Mean over the layers of what their rank cannot hold."""
        return sum(each.cut for each in self.layers) / len(self.layers) if self.layers else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain tables, for JSON."""
        hidden = {"products", "sum_energy"}
        return {
            "cosines": [
                {"files": list(pair), "cosine": value} for pair, value in self.cosines.items()
            ],
            "sign_conflicts": self.sign_conflicts,
            "lost": self.lost,
            "cut": self.cut,
            "layers": [
                {key: value for key, value in asdict(each).items() if key not in hidden}
                for each in self.layers
            ],
        }


def measure_interference(
    layer: str, files: Sequence[int], changes: Sequence[Change], result: Change, *, signs: bool
) -> LayerInterference:
    """Returns how the changes of a layer get on with each other.

    Args:
        layer: Its name.
        files: Numbers of the files that change it.
        changes: What each does to it, weighted.
        result: What they were merged to.
        signs: Whether to count sign conflicts, for which all matrices are multiplied out.
    """
    products = [multiply_inner(one, other) for one, other in combinations(changes, 2)]
    energies = [measure_energy(change) for change in changes]
    pairs = combinations(energies, 2)
    cosines = [
        product / sqrt(one * other) if one and other else 0.0
        for product, (one, other) in zip(products, pairs, strict=True)
    ]
    exact = join(list(changes))
    whole = measure_energy(exact)
    lost = measure_energy(join([exact, result.scale(-1.0)]))
    return LayerInterference(
        layer=layer,
        files=list(files),
        norms=[sqrt(energy) for energy in energies],
        cosines=cosines,
        sign_conflicts=_count_conflicts(changes) if signs else -1.0,
        lost=lost / whole if whole else 0.0,
        rank=result.rank,
        products=products,
        sum_energy=whole,
    )


def _count_conflicts(changes: Sequence[Change]) -> float:
    """Returns the share of numbers that have a plus in one change and a minus in another."""
    rows, columns = changes[0].sides
    count = 0
    for some in list_blocks(rows, columns):
        blocks = [change.multiply_rows(some) for change in changes]
        highest, lowest = blocks[0], blocks[0]
        for block in blocks[1:]:
            highest, lowest = torch.maximum(highest, block), torch.minimum(lowest, block)
        count += int(torch.count_nonzero((highest > 0) & (lowest < 0)))
    return count / (rows * columns)
