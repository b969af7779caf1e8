"""The proof after each export: the file, read back, makes the change that was trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.export.errors import ExportError
from trainer.files.read import read_adapter_file
from trainer.files.read.file_module import FileModule
from trainer.formats.precision import BY_PRECISION
from trainer.formats.unet_names import SD_NAMES, UNetNames

# A DoRA's change is the difference of two whole weights, each of which fp32 rounds to this share.
_WEIGHT_ROUNDING = 1e-6

Rebuild = Callable[[str, FileModule], Tensor]


@dataclass(frozen=True)
class RoundTrip:
    """What reading the file back showed.

    Attributes:
        modules: Layers in the file, all of them those that were trained.
        max_relative_error: Largest Frobenius norm of a layer's error over that of its change.
    """

    modules: int
    max_relative_error: float


def multiply_out(layer: str, module: FileModule) -> Tensor:
    """Returns the weight difference of a plain LoRA, [out, in] or [out, in, k, k].

    Raises:
        ExportError: the layer is of another kind.
    """
    parts = module.parts()
    if isinstance(parts, dict):
        msg = f"{layer} is a {module.kind}, which only the adapter itself can multiply out."
        raise ExportError(msg)
    down, up, scale = parts
    return (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:]) * scale


def compare_with_trained(
    path: Path,
    deltas: Mapping[str, Tensor],
    precision: str,
    unet_names: UNetNames = SD_NAMES,
    rebuild: Rebuild = multiply_out,
) -> RoundTrip:
    """Reads an exported file back and compares every layer's change with the trained one.

    Args:
        path: The exported file.
        deltas: The trained change per layer name, fp32.
        precision: Of the file, which sets what counts as rounding.
        unet_names: The original names of the UNet's blocks.
        rebuild: Makes a layer's change from the file; kinds other than LoRA need the layer for it.

    Raises:
        ExportError: a layer is missing, or a change differs by more than rounding.
    """
    read = read_adapter_file(path, deltas.keys(), unet_names).modules
    missing = sorted(set(deltas) - set(read))
    if missing:
        msg = (
            f"{path.name} lacks {len(missing)} of {len(deltas)} trained layers, first {missing[0]}."
        )
        raise ExportError(msg)
    worst = 0.0
    for layer, delta in deltas.items():
        written = rebuild(layer, read[layer]).view(delta.shape)
        norm = torch.linalg.vector_norm(delta).item()
        error = torch.linalg.vector_norm(written - delta).item() - _allow(read[layer])
        # A change too small for the number format is lost, which is not an error of the file.
        relative = max(error, 0.0) / norm if norm > 1e-7 else 0.0
        if relative > BY_PRECISION[precision].tolerance:
            msg = (
                f"{path.name} does not hold what was trained: {layer} differs by {relative:.1%}. "
                "Set output.precision to fp32 in the run's config.toml and export its last "
                "checkpoint again (`lorasmith export RUN`)."
            )
            raise ExportError(msg)
        worst = max(worst, relative)
    return RoundTrip(len(read), worst)


def _allow(module: FileModule) -> float:
    """Returns the error that is rounding of the whole weight; its norm is that of the lengths."""
    lengths = module.tensors.get("dora_scale")
    if lengths is None:
        return 0.0
    return _WEIGHT_ROUNDING * torch.linalg.vector_norm(lengths).item()
