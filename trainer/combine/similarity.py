"""How similar adapters are, and how much of each is lost when they are merged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from math import sqrt
from typing import Any

import torch

from trainer.combine.delta import Delta, join, measure_energy, multiply_inner
from trainer.combine.sparsify import list_blocks


@dataclass(frozen=True)
class LayerSimilarity:
    """One layer of a merge.

    Attributes:
        layer: Its name.
        files: Numbers of the files that change it, from 0.
        norms: Frobenius norm of each file's weighted delta.
        cosines: Per pair of those files, in order: 1 for equal deltas, -1 for opposite ones.
        sign_conflicts: Share of the weight's numbers that some file raises and another lowers; -1
            where it was not counted.
        lost: Squared distance of the result from the weighted sum, as a share of the sum's squared
            norm; 0 for an exact merge.
        rank: Of the result.
        cut: Share of the method's result that the rank cannot represent; 0 for an exact one.
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
class SimilarityReport:
    """All layers of a merge, and the values over all of them."""

    layers: list[LayerSimilarity] = field(default_factory=list)

    @property
    def cosines(self) -> dict[tuple[int, int], float]:
        """Per pair of files: the cosine between the whole deltas, over the layers of both."""
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
        """Mean over the layers of what their rank cannot represent."""
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


def measure_similarity(
    layer: str, files: Sequence[int], deltas: Sequence[Delta], result: Delta, *, signs: bool
) -> LayerSimilarity:
    """Returns the similarity of the deltas of a layer.

    Args:
        layer: Its name.
        files: Numbers of the files that change it.
        deltas: Of each file, weighted.
        result: The merged delta.
        signs: Whether to count sign conflicts, for which all matrices are multiplied out.
    """
    products = [multiply_inner(one, other) for one, other in combinations(deltas, 2)]
    energies = [measure_energy(delta) for delta in deltas]
    pairs = combinations(energies, 2)
    cosines = [
        product / sqrt(one * other) if one and other else 0.0
        for product, (one, other) in zip(products, pairs, strict=True)
    ]
    exact = join(list(deltas))
    whole = measure_energy(exact)
    lost = measure_energy(join([exact, result.scale(-1.0)]))
    return LayerSimilarity(
        layer=layer,
        files=list(files),
        norms=[sqrt(energy) for energy in energies],
        cosines=cosines,
        sign_conflicts=_count_conflicts(deltas) if signs else -1.0,
        lost=lost / whole if whole else 0.0,
        rank=result.rank,
        products=products,
        sum_energy=whole,
    )


def _count_conflicts(deltas: Sequence[Delta]) -> float:
    """Returns the share of numbers that are positive in one delta and negative in another."""
    rows, columns = deltas[0].sides
    count = 0
    for some in list_blocks(rows, columns):
        blocks = [delta.multiply_rows(some) for delta in deltas]
        highest, lowest = blocks[0], blocks[0]
        for block in blocks[1:]:
            highest, lowest = torch.maximum(highest, block), torch.minimum(lowest, block)
        count += int(torch.count_nonzero((highest > 0) & (lowest < 0)))
    return count / (rows * columns)
