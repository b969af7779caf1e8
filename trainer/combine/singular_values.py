"""The singular values of an adapter: how strong each layer is, how much of its rank is used."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.combine.delta import SVD, decompose, measure_effective_rank
from trainer.combine.merge import Progress
from trainer.combine.sources import open_sources
from trainer.combine.target_model import open_base, read_target_model
from trainer.files.read.family import read_rank
from trainer.files.read.keys import VECTOR_KINDS

# The ranks for which the share of the energy is reported.
_RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SHOWN_VALUES = 64


@dataclass(frozen=True)
class LayerSingularValues:
    """One layer of a file.

    Attributes:
        layer: Its name.
        kind: Of the adapter.
        rank: In the file.
        norm: Frobenius norm of its delta.
        relative_norm: The same as a share of the base weight's norm; 0 without a base model.
        effective_rank: How much of the rank it uses, see `measure_effective_rank`.
        energy: Share of the squared norm in the n largest singular values, by n.
        values: The largest singular values.
    """

    layer: str
    kind: str
    rank: int
    norm: float
    relative_norm: float
    effective_rank: float
    energy: dict[int, float]
    values: list[float]


@dataclass(frozen=True)
class FileSingularValues:
    """All layers of a file.

    Attributes:
        name: Of the file.
        family: A key of `FAMILIES`.
        layers: In the order of the file.
    """

    name: str
    family: str
    layers: list[LayerSingularValues]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain tables, for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Returns a readable table, the strongest layer first, and a summary."""
        ordered = sorted(self.layers, key=lambda each: each.norm, reverse=True)
        lines = [f"{self.name}: {len(self.layers)} layers, the strongest first"]
        lines.append(f"  {'norm':>9}  {'rank':>4}  {'used':>5}  {'in 1':>5}  {'in 8':>5}  layer")
        lines += [
            f"  {each.norm:9.4g}  {each.rank:4}  {each.effective_rank:5.1f}  "
            f"{each.energy.get(1, 1):5.0%}  {each.energy.get(8, 1):5.0%}  {each.layer}"
            for each in ordered
        ]
        return "\n".join([*lines, self._sum_up()])

    def _sum_up(self) -> str:
        used = sorted(each.effective_rank for each in self.layers)
        middle = used[len(used) // 2] if used else 0.0
        fit = next((rank for rank in _RANKS if self._share(rank) >= 0.99), _RANKS[-1])
        return (
            f"  “used” is the effective rank, median {middle:.1f}; “in 8” is the share of "
            f"the energy in the 8 largest singular values. Rank {fit} keeps {self._share(fit):.1%}."
        )

    def _share(self, rank: int) -> float:
        """Returns the share of the whole file's energy that a rank keeps."""
        total = sum(each.norm**2 for each in self.layers)
        retained = sum(each.norm**2 * each.energy.get(rank, 1.0) for each in self.layers)
        return retained / total if total else 1.0


def measure_singular_values(
    path: Path, base_model: Path | None = None, progress: Progress | None = None
) -> FileSingularValues:
    """Returns the singular values of every layer of an adapter file, one layer in memory at a time.

    Args:
        path: A file of any kind.
        base_model: One that it fits: DoRA needs it, and norms are also given relative to its
            weights.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do.
    """
    base = open_base(base_model)
    target_model = read_target_model([path], base)
    layers: list[LayerSingularValues] = []
    with open_sources([path], target_model) as (source,):
        groups = source.file.groups.items()
        matrices = {layer: group for layer, group in groups if group.kind not in VECTOR_KINDS}
        for layer, group in matrices.items():
            delta = source.make_delta(layer, source.file.read(layer))
            rank = read_rank(group, source.file.shapes) or delta.limit
            kind = "dora" if group.has_magnitude else group.kind
            described = describe_layer(layer, kind, rank, decompose(delta))
            if base is not None:
                whole = float(torch.linalg.vector_norm(base.read(layer)))
                described = replace(
                    described, relative_norm=described.norm / whole if whole else 0.0
                )
            layers.append(described)
            if progress is not None:
                progress(len(layers), len(matrices))
    return FileSingularValues(path.name, target_model.family, layers)


def describe_layer(layer: str, kind: str, rank: int, svd: SVD) -> LayerSingularValues:
    """Returns the report of one layer."""
    steps = [step for step in _RANKS if step <= max(svd.values.numel(), 1)]
    return LayerSingularValues(
        layer=layer,
        kind=kind,
        rank=rank,
        norm=svd.energy**0.5,
        relative_norm=0.0,
        effective_rank=measure_effective_rank(svd),
        energy={step: svd.share(step) for step in steps},
        values=svd.values[:_SHOWN_VALUES].tolist(),
    )
