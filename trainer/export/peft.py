"""LoRA files in the format of diffusers and PEFT, for the Hub and for diffusers' own scripts.

Per layer two tensors, `LAYER.lora_A.weight` (down) and `LAYER.lora_B.weight` (up), and with DoRA on
the paper's axis a third, `LAYER.lora_magnitude_vector.weight` (diffusers does without the `.weight`
in a UNet and not in a text encoder). Ranks and alphas have no tensors of their own; they are in
the header's `lora_adapter_metadata`. Only diffusers reads these files: other programs want kohya's.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from trainer.export.errors import ExportError
from trainer.export.files import cast_weight, even_out, write_tensors
from trainer.export.kohya import Factors, Module


def write_peft(
    path: Path, modules: Mapping[str, Module], metadata: Mapping[str, str], precision: str
) -> str:
    """Writes a PEFT file; returns its hash, sha256 over the tensors' bytes.

    Scales are folded into `lora_B`, so that alpha equals the rank everywhere: that is what a reader
    assumes that does not know the header (diffusers before 0.34).

    Args:
        path: Where to.
        modules: (down, up, scale) per layer name, or the parts of a DoRA on the paper's axis.
        metadata: The header, without the hashes and the adapter's description.
        precision: "fp16", "bf16" or "fp32".

    Raises:
        ExportError: the format does not have the layers' kind, a weight is not finite, or the disk
            is full.
    """
    if not fits_peft(modules):
        msg = (
            f"{path.name} cannot be written in the diffusers format, which holds LoRA only, or "
            "DoRA per output channel on all layers. Export in the kohya format."
        )
        raise ExportError(msg)
    tensors, ranks = {}, {}
    for layer, module in modules.items():
        down, up, scale = _read_factors(module)
        ranks[layer] = down.shape[0]
        if isinstance(module, Mapping):  # kept in fp32: a length stands for a whole row
            magnitude = _shape_magnitude(module["dora_scale"])
            name = f"{layer}.lora_magnitude_vector.weight"
            tensors[name] = cast_weight(layer, magnitude, "fp32")
        down, up = even_out(down.float(), up.float() * scale, precision)
        tensors[f"{layer}.lora_A.weight"] = cast_weight(layer, down, precision)
        tensors[f"{layer}.lora_B.weight"] = cast_weight(layer, up, precision)
    dora = {layer.partition(".")[0] for layer, each in modules.items() if isinstance(each, Mapping)}
    return write_tensors(path, tensors, {**metadata, **encode_adapters(ranks, dora)})


def encode_adapters(ranks: Mapping[str, int], dora: Collection[str] = ()) -> dict[str, str]:
    """Returns the header's entry about ranks and alphas, which are equal.

    Args:
        ranks: By layer name.
        dora: The models whose adapters are DoRA.
    """
    settings = describe_adapters(ranks) | {f"{model}.use_dora": True for model in dora}
    return {"lora_adapter_metadata": json.dumps(settings, sort_keys=True, separators=(",", ":"))}


def fits_peft(modules: Mapping[str, Module]) -> bool:
    """Returns whether the format has a file's kind: LoRA, or DoRA per output channel, not both."""
    others = [module for module in modules.values() if isinstance(module, Mapping)]
    return not others or (len(others) == len(modules) and all(map(_is_dora_of_paper, others)))


def _is_dora_of_paper(module: Mapping[str, Tensor]) -> bool:
    up, lengths = module.get("lora_up.weight"), module.get("dora_scale")
    return up is not None and lengths is not None and lengths.shape[0] == up.shape[0] > 1


def _read_factors(module: Module) -> Factors:
    if not isinstance(module, Mapping):
        return module
    down = module["lora_down.weight"]
    return down, module["lora_up.weight"], float(module["alpha"]) / down.shape[0]


def _shape_magnitude(lengths: Tensor) -> Tensor:
    """Returns the lengths as PEFT has them: [out] on linear layers, [1, out, 1, 1] on others."""
    return lengths.flatten() if lengths.ndim == 2 else lengths.reshape(1, -1, 1, 1)


def describe_adapters(ranks: Mapping[str, int]) -> dict[str, object]:
    """Returns the arguments of PEFT's `LoraConfig` per model, for ranks per layer name.

    Only what is needed: a reader whose PEFT lacks a field refuses the whole file. The text
    encoders' level `text_model` is left out, because newer transformers do not have it and names
    are matched from their end.
    """
    models: dict[str, dict[str, int]] = {}
    for layer, rank in ranks.items():
        model, _, path = layer.partition(".")
        models.setdefault(model, {})[path.removeprefix("text_model.")] = rank
    described: dict[str, object] = {}
    for model, paths in models.items():
        usual = Counter(paths.values()).most_common(1)[0][0]
        others = {path: rank for path, rank in paths.items() if rank != usual}
        described |= {
            f"{model}.r": usual,
            f"{model}.lora_alpha": usual,
            f"{model}.target_modules": sorted(paths),
            f"{model}.rank_pattern": others,
            f"{model}.alpha_pattern": others,
        }
    return described
