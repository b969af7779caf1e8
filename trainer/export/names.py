"""Layer names in the kohya format.

A kohya name is `<prefix>_<path with every dot turned into _>`, where the prefix names the model.
SD 1.x and 2.x write the UNet's paths as diffusers names its blocks, SDXL as the original layout
does: no other choice is read by all programs. The text encoder's level `text_model` is always
written (see `trainer.models.layers.name_layer`).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainer.formats.families import FAMILIES, name_encoder
from trainer.formats.spellings import parse_names

if TYPE_CHECKING:
    from trainer.formats.unet_names import UNetNames


def name_layers(layers: Iterable[str], family: str, unet_names: "UNetNames") -> dict[str, str]:
    """Returns the kohya name of each layer.

    Args:
        layers: Names with the model in front, `unet.mid_block.attentions.0.proj_in`.
        family: A key of `FAMILIES`.
        unet_names: The original names of this UNet's blocks.
    """
    spec = FAMILIES[family]
    prefixes = {
        "unet": "lora_unet",
        **{name_encoder(n): each.prefix for n, each in enumerate(spec.text_encoders)},
    }
    names = {}
    for layer in layers:
        model, _, path = layer.partition(".")
        if model == "unet" and spec.unet.original_blocks:
            path = unet_names.to_original(path)
        names[layer] = f"{prefixes[model]}_{_flatten(path)}"
    return names


def recognise_layers(names: Iterable[str], unet_names: "UNetNames") -> dict[str, str]:
    """Returns the layer of each name by grammar alone, without the base model's layers.

    Names that follow no grammar are left out; which grammars there are is in
    `trainer.formats.spellings`.

    Args:
        names: Of modules in a file, `lora_unet_mid_block_attentions_0_proj_in`.
        unet_names: The original names of the blocks of this family's UNet.
    """
    parsed = parse_names(names, unet_names)
    return {name: each.layer for name, each in parsed.items()}


def _flatten(path: str) -> str:
    return path.replace(".", "_")
