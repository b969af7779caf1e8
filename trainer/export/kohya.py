"""LoRA files in the kohya format, which A1111, Forge, ComfyUI, InvokeAI and diffusers read.

Per layer three tensors: `NAME.lora_down.weight` [rank, in(, k, k)], `NAME.lora_up.weight`
[out, rank(, 1, 1)] and `NAME.alpha`, a scalar; readers apply alpha / rank.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainer.export.errors import ExportError
from trainer.export.files import cast_weight, even_out, even_out_parts, write_tensors

Factors = tuple[Tensor, Tensor, float]
# A layer of another kind than plain LoRA comes as its parts, alpha among them, and is written so.
Module = Factors | Mapping[str, Tensor]
# Always fp32: bf16 would turn an alpha of 13.23 into 13.25, and the lengths of DoRA stand for a
# whole weight, of which the change is a small share.
_ALWAYS_EXACT = {"alpha", "dora_scale"}
# A full difference has no second factor that could be large where it is small: after a few steps it
# is below what fp16 has digits for.
_ALONE = {"diff", "diff_b"}
_ROUNDING = 1e-3  # of fp16, with a margin


def write_kohya(
    path: Path,
    modules: Mapping[str, Module],
    names: Mapping[str, str],
    metadata: Mapping[str, str],
    precision: str,
) -> str:
    """Writes a kohya file; returns its hash, sha256 over the tensors' bytes.

    Every layer of one model gets the same alpha and what differs is folded into `lora_up`, in fp32
    before the cast: diffusers mixes up alphas that differ between layers of one model.

    Args:
        path: Where to.
        modules: (down, up, scale), or the parts of another kind, per layer name.
        names: The kohya name of each layer, see `name_layers`.
        metadata: The header, without the hashes.
        precision: "fp16", "bf16" or "fp32".

    Raises:
        ExportError: a weight is not finite or does not fit the format, the lengths of a DoRA stand
            per output channel, or the disk is full.
    """
    _refuse_output_lengths(path, modules)
    alphas = _choose_alphas(modules)
    tensors = {}
    for layer, module in modules.items():
        parts = (
            even_out_parts(module, precision)
            if isinstance(module, Mapping)
            else _fold(module, alphas[layer.partition(".")[0]], precision)
        )
        for part, value in parts.items():
            exact = part in _ALWAYS_EXACT or _loses_digits(part, value, precision)
            cast = cast_weight(layer, value, "fp32" if exact else precision)
            tensors[f"{names[layer]}.{part}"] = cast
    return write_tensors(path, tensors, metadata)


def _refuse_output_lengths(path: Path, modules: Mapping[str, Module]) -> None:
    """Programs read the lengths of a DoRA per input channel, and apply others without a word."""
    for layer, module in modules.items():
        lengths = module.get("dora_scale") if isinstance(module, Mapping) else None
        if lengths is not None and lengths.dim() > 1 and lengths.shape[0] != 1:
            msg = (
                f"{path.name} would hold a DoRA whose lengths stand per output channel (first "
                f"{layer}), which programs apply wrongly from a kohya file. Use the diffusers "
                "format, or train with adapter.dora_axis = input."
            )
            raise ExportError(msg)


def _loses_digits(part: str, value: Tensor, precision: str) -> bool:
    if part not in _ALONE or precision != "fp16":
        return False
    error = torch.linalg.vector_norm(value.half().float() - value)
    return bool(error > _ROUNDING * torch.linalg.vector_norm(value))


def _fold(factors: Factors, alpha: float, precision: str) -> dict[str, Tensor]:
    """Returns the parts of a layer whose scale is alpha / rank, whatever it was before."""
    down, up, scale = factors
    folded = up.float() * (scale * down.shape[0] / alpha)
    down, folded = even_out(down.float(), folded, precision)
    return {
        "lora_down.weight": down,
        "lora_up.weight": folded,
        "alpha": torch.tensor(alpha, dtype=torch.float32),
    }


def _choose_alphas(modules: Mapping[str, Module]) -> dict[str, float]:
    """Returns one alpha per model: its layers' commonest, so that most need no folding."""
    by_model: dict[str, Counter[float]] = {}
    for layer, module in modules.items():
        if isinstance(module, Mapping):
            continue
        down, _, scale = module
        counts = by_model.setdefault(layer.partition(".")[0], Counter())
        # An alpha of 0 means "no effect" to some programs and "the rank" to others: never written.
        counts[abs(scale) * down.shape[0] or 1.0] += 1
    return {model: counts.most_common(1)[0][0] for model, counts in by_model.items()}
