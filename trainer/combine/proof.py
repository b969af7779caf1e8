"""The proof after a conversion: both files do the same."""

from pathlib import Path

import torch

from trainer.combine.delta import join, measure_energy
from trainer.combine.errors import CombineError
from trainer.combine.sources import Source, open_sources
from trainer.combine.target_model import TargetModel
from trainer.export import FileModule
from trainer.formats.precision import BY_PRECISION


def prove_equal(source: Source, to: Path, target_model: TargetModel, precision: str) -> None:
    """Compares what each layer of a written file does with the file it was made from.

    Args:
        source: What was converted.
        to: The file that was written.
        target_model: What both are for.
        precision: Of the file, which sets what counts as rounding.

    Raises:
        CombineError: a layer differs by more than rounding.
    """
    tolerance = BY_PRECISION[precision].tolerance
    with open_sources([to], target_model) as (written,):
        for layer in source.file.groups:
            before, after = source.file.read(layer), written.file.read(layer)
            error = _measure_error(layer, source, before, after)
            if error > tolerance:
                msg = (
                    f"{to.name} would not do what {source.path.name} does: {layer} differs by "
                    f"{error:.1%}. Give another --precision."
                )
                raise CombineError(msg)


def _measure_error(layer: str, source: Source, before: FileModule, after: FileModule) -> float:
    """Returns the distance of two modules of a layer as a share of the first one's norm."""
    if before.kind == "lora":
        one, other = (source.make_delta(layer, each) for each in (before, after))
        energy = measure_energy(one)
        return (measure_energy(join([one, other.scale(-1)])) / energy) ** 0.5 if energy else 0.0
    scale = after.alpha / before.alpha if before.kind == "dora" and before.alpha else 1.0
    worst = 0.0
    for part, value in before.tensors.items():
        factor = scale if part == "lora_up.weight" else 1.0
        norm = float(torch.linalg.vector_norm(value))
        distance = float(torch.linalg.vector_norm(after.tensors[part] * factor - value))
        worst = max(worst, distance / norm if norm else 0.0)
    return worst
