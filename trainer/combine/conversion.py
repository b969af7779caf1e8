"""The formats that files can be converted to: their names of layers and of parts."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.combine.delta import Shape
from trainer.combine.errors import CombineError
from trainer.combine.target_model import TargetModel
from trainer.export import FileModule, name_layers
from trainer.export.files import even_out
from trainer.export.peft import encode_adapters
from trainer.files.read.keys import PART_ENDINGS
from trainer.formats.families import FAMILIES
from trainer.formats.spellings import KOHYA, SPELLINGS, Spelling, write_name

_PEFT_PARTS = {
    "lora_down.weight": "lora_A.weight",
    "lora_up.weight": "lora_B.weight",
    "magnitude": "lora_magnitude_vector.weight",
}
_PROCESSOR = re.compile(r"\.to_(?:q|k|v|out)$")
_WITH_WORDS = KOHYA | {"omi"}  # what OneTrainer writes, and A1111 reads with them


@dataclass(frozen=True)
class Target:
    """A format.

    Attributes:
        spelling: Of its names.
        by_family: Whether the family decides how the UNet's blocks are named, as in kohya files.
    """

    spelling: Spelling
    by_family: bool = False

    @property
    def holds_words(self) -> bool:
        """Whether embeddings can be bundled with the layers."""
        return self.spelling.name in _WITH_WORDS

    def describe(self, ranks: Mapping[str, int], *, dora: bool) -> dict[str, str]:
        """Returns what the header needs beyond that of other formats."""
        if self.spelling.name != "diffusers":
            return {}
        return encode_adapters(ranks, dora={layer.partition(".")[0] for layer in ranks if dora})


TARGETS: dict[str, Target] = {
    "kohya": Target(SPELLINGS["kohya"], by_family=True),
    "diffusers": Target(SPELLINGS["diffusers"]),
    "kohya-diffusers": Target(SPELLINGS["kohya"]),
    **{
        name: Target(each) for name, each in SPELLINGS.items() if name not in {"kohya", "diffusers"}
    },
}


def name_converted(
    path: Path, layers: Iterable[str], target: str, target_model: TargetModel
) -> dict[str, str]:
    """Returns the new name of each layer.

    Args:
        path: Of the file, for messages.
        layers: Its layers, with the model in front.
        target: A key of `TARGETS`.
        target_model: What the file is for.

    Raises:
        CombineError: the format has no name for a layer.
    """
    family, unet_names, chosen = target_model.family, target_model.unet_names, TARGETS[target]
    every = list(layers)
    if chosen.by_family:
        return name_layers(every, family, unet_names)
    names: dict[str, str] = {}
    for layer in every:
        spelling = chosen.spelling
        if target == "kohya-original" and not layer.startswith("unet."):
            spelling = SPELLINGS["kohya"]
        name = write_name(layer, spelling, FAMILIES[family], unet_names)
        if name is None:
            msg = (
                f"{path.name} cannot be converted to {target}, which has no name for {layer}. "
                "Choose another format."
            )
            raise CombineError(msg)
        names[layer] = name
    return names


def join_key(target: str, name: str, part: str) -> str:
    """Returns the key of a layer's part.

    Args:
        target: A key of `TARGETS`.
        name: Of the layer in that format.
        part: As LyCORIS names it.
    """
    if not TARGETS[target].spelling.peft:
        if TARGETS[target].spelling.name == "comfyui":
            part = {"w_norm": "diff", "b_norm": "diff_b"}.get(part, part)
        return f"{name}.{PART_ENDINGS.get(part, part)}"
    if target != "diffusers-old":
        return f"{name}.{_PEFT_PARTS[part]}"
    factor = "down" if part == "lora_down.weight" else "up"
    if _PROCESSOR.search(name):
        return f"{name}_lora.{factor}.weight"
    between = "lora_linear_layer" if name.startswith("text_encoder") else "lora"
    return f"{name}.{between}.{factor}.weight"


def restore_axes(module: FileModule, shape: Shape) -> FileModule:
    """Returns a LoRA with as many axes as its layer has, where the file has others.

    Some programs write a 1 x 1 convolution as a linear layer, or the other way round.
    """
    if module.kind != "lora" or not shape:
        return module
    down, up = module.tensors["lora_down.weight"], module.tensors["lora_up.weight"]
    sizes = ((down.shape[0], *shape[1:]), (shape[0], down.shape[0], *(1,) * (len(shape) - 2)))
    if (math.prod(sizes[0]), math.prod(sizes[1])) != (down.numel(), up.numel()):
        return module
    parts = {"lora_down.weight": down.reshape(sizes[0]), "lora_up.weight": up.reshape(sizes[1])}
    return replace(module, tensors={**module.tensors, **parts})


def convert_parts(module: FileModule, alpha: float | None, precision: str) -> dict[str, Tensor]:
    """Returns the tensors of a layer with a given alpha.

    Args:
        module: The layer.
        alpha: Of all layers of its model, because diffusers mixes up alphas that differ; None for
            formats that have the scale in the factors.
        precision: In which small factors are evened out.
    """
    parts = dict(module.tensors)
    if module.kind == "lora":
        down, up, scale = parts["lora_down.weight"], parts["lora_up.weight"], module.alpha
        rank = down.shape[0]
        factor = scale / rank if alpha is None else scale / alpha
        down, up = even_out(down, up if factor == 1 else up * factor, precision)
        parts |= {"lora_down.weight": down, "lora_up.weight": up}
        if alpha is not None:
            parts["alpha"] = torch.tensor(alpha)
    elif alpha is None and "dora_scale" in parts:
        lengths = parts.pop("dora_scale")
        parts["magnitude"] = (
            lengths.flatten() if lengths.ndim == 2 else lengths.reshape(1, -1, 1, 1)
        )
        parts["lora_up.weight"] = parts["lora_up.weight"] * (
            module.alpha / parts["lora_down.weight"].shape[0]
        )
    elif module.kind in {"loha", "lokr", "dora", "glora"} or (
        module.kind == "oft" and module.alpha
    ):
        parts["alpha"] = torch.tensor(module.alpha)
    return parts
