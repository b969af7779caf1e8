"""The proof after each export: the file, read back, makes the change that was trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.export.errors import ExportError
from trainer.export.kohya import read_lora

# Rounding to fp16 keeps 11 bits, to bf16 8; two factors are rounded.
_TOLERANCES = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 2e-2}


@dataclass(frozen=True)
class RoundTrip:
    """What reading the file back showed.

    Attributes:
        modules: Layers in the file, all of them those that were trained.
        max_relative_error: Largest Frobenius norm of a layer's error over that of its change.
    """

    modules: int
    max_relative_error: float


def compare_with_trained(path: Path, deltas: Mapping[str, Tensor], precision: str) -> RoundTrip:
    """Reads an exported file back and compares every layer's change with the trained one.

    Args:
        path: The exported file.
        deltas: The trained change per layer name, fp32.
        precision: Of the file, which sets what counts as rounding.

    Raises:
        ExportError: a layer is missing, or a change differs by more than rounding.
    """
    read = read_lora(path, deltas.keys()).factors
    missing = sorted(set(deltas) - set(read))
    if missing:
        msg = (
            f"{path.name} lacks {len(missing)} of {len(deltas)} trained layers, first {missing[0]}."
        )
        raise ExportError(msg)
    worst = 0.0
    for layer, delta in deltas.items():
        down, up, scale = read[layer]
        written = (up.flatten(1) @ down.flatten(1)).view(delta.shape) * scale
        norm = torch.linalg.vector_norm(delta).item()
        error = torch.linalg.vector_norm(written - delta).item()
        # A change too small for the number format is lost, which is not an error of the file.
        relative = error / norm if norm > 1e-7 else 0.0
        if relative > _TOLERANCES[precision]:
            msg = f"{path.name} does not hold what was trained: {layer} differs by {relative:.1%}."
            raise ExportError(msg)
        worst = max(worst, relative)
    return RoundTrip(len(read), worst)
