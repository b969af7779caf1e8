"""What an adapter's numbers look like: how strong each layer is, how much of its rank is used."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.combine.delta import Spectrum, decompose, measure_effective_rank
from trainer.combine.merge import Progress
from trainer.combine.sources import open_sources
from trainer.combine.target_model import draw_blueprint, open_base
from trainer.files.read.family import read_rank

# Where the share of the energy is told.
_RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_SHOWN_VALUES = 64


@dataclass(frozen=True)
class LayerSpectrum:
    """One layer of a file.

    Attributes:
        layer: Its name.
        kind: Of the adapter.
        rank: That the file gives it.
        norm: Frobenius norm of its change.
        relative_norm: The same as a share of the base weight's norm; 0 without a base model.
        effective_rank: How many directions it really uses, see `measure_effective_rank`.
        energy: Share of the squared norm in the strongest directions, by how many they are.
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
class FileSpectrum:
    """All layers of a file.

    Attributes:
        name: Of the file.
        family: "sd15", "sd2" or "sdxl".
        layers: In the order of the file.
    """

    name: str
    family: str
    layers: list[LayerSpectrum]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain tables, for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Returns a table for a person, the strongest layer first, and what it comes to."""
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
            f"  “used” is the effective rank, {middle:.1f} in the middle; “in 8” is the share of "
            f"the energy in 8 directions. Rank {fit} holds {self._share(fit):.1%} of all."
        )

    def _share(self, rank: int) -> float:
        """Returns the share of the whole file's energy that a rank holds."""
        total = sum(each.norm**2 for each in self.layers)
        held = sum(each.norm**2 * each.energy.get(rank, 1.0) for each in self.layers)
        return held / total if total else 1.0


def measure_spectrum(
    path: Path, base_model: Path | None = None, progress: Progress | None = None
) -> FileSpectrum:
    """Returns the spectrum of every layer of an adapter file; one layer is in memory at a time.

    Args:
        path: A file of any kind.
        base_model: One that it fits: DoRA needs it, and norms are told relative to its weights.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do.
    """
    base = open_base(base_model)
    blueprint = draw_blueprint([path], base)
    layers: list[LayerSpectrum] = []
    with open_sources([path], blueprint) as (source,):
        for layer, group in source.file.groups.items():
            change = source.make_change(layer, source.file.read(layer))
            rank = read_rank(group, source.file.shapes) or change.limit
            kind = "dora" if group.has_magnitude else group.kind
            found = describe_layer(layer, kind, rank, decompose(change))
            if base is not None:
                whole = float(torch.linalg.vector_norm(base.read(layer)))
                found = replace(found, relative_norm=found.norm / whole if whole else 0.0)
            layers.append(found)
            if progress is not None:
                progress(len(layers), len(source.file.groups))
    return FileSpectrum(path.name, blueprint.family, layers)


def describe_layer(layer: str, kind: str, rank: int, spectrum: Spectrum) -> LayerSpectrum:
    """Returns what is told of a layer."""
    steps = [step for step in _RANKS if step <= max(spectrum.values.numel(), 1)]
    return LayerSpectrum(
        layer=layer,
        kind=kind,
        rank=rank,
        norm=spectrum.energy**0.5,
        relative_norm=0.0,
        effective_rank=measure_effective_rank(spectrum),
        energy={step: spectrum.share(step) for step in steps},
        values=spectrum.values[:_SHOWN_VALUES].tolist(),
    )
