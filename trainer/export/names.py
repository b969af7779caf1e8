"""Layer names in the kohya format, and every spelling under which files are read.

A kohya name is `<prefix>_<path with every dot turned into _>`, where the prefix names the model.
SD 1.x and 2.x write the UNet's paths as diffusers names its blocks, SDXL as the original layout
does: no other choice is read by all programs. The text encoder's level `text_model` is always
written (see `trainer.models.layers.name_layer`).
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from trainer.formats.families import FAMILIES, name_encoder

if TYPE_CHECKING:
    from trainer.formats.unet_names import UNetNames

# Some trainers name the only text encoder like the first of two, and the reverse.
_PREFIXES_READ = {"text_encoder": ("lora_te", "lora_te1"), "text_encoder_2": ("lora_te2",)}
_TEXT_LEVEL = "text_model."
_MODELS = {
    "lora_unet": "unet",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
}
# The words of a path that hold an underscore themselves; between all others it stands for a dot.
_WORD = re.compile(
    r"(?:down_blocks|up_blocks|mid_block|input_blocks|middle_block|output_blocks|"
    r"transformer_blocks|time_emb_proj|conv_shortcut|skip_connection|in_layers|out_layers|"
    r"emb_layers|proj_in|proj_out|to_q|to_k|to_v|to_out|text_model|self_attn|q_proj|k_proj|v_proj|"
    r"out_proj)(?![^_])|[^_]+"
)


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


def known_names(layers: Iterable[str], unet_names: "UNetNames") -> dict[str, str]:
    """Returns the layer for every spelling that files use for it.

    A spelling is a tensor's key without its part (`.lora_down.weight`, `.lora_A.weight`, `.alpha`
    …): kohya names with the UNet's blocks in either naming, and the dotted names of diffusers.
    """
    return {
        spelling: layer
        for layer in layers
        for spelling in (
            _spell_unet(layer, unet_names) if layer.startswith("unet.") else _spell_text(layer)
        )
    }


def recognise_layers(names: Iterable[str], unet_names: "UNetNames") -> dict[str, str]:
    """Returns the layer of each kohya name by grammar alone, without the base model's layers.

    Names that follow no grammar are left out.

    Args:
        names: Of modules in a file, `lora_unet_mid_block_attentions_0_proj_in`.
        unet_names: The original names of the blocks of this family's UNet.
    """
    layers = {}
    for name in names:
        prefix = next((each for each in _MODELS if name.startswith(f"{each}_")), None)
        if prefix is None:
            continue
        model = _MODELS[prefix]
        path = ".".join(_WORD.findall(name.removeprefix(f"{prefix}_")))
        if model != "unet":
            path = path if path.startswith(_TEXT_LEVEL) else f"{_TEXT_LEVEL}{path}"
        elif path.startswith(("input_blocks.", "middle_block.", "output_blocks.")):
            try:
                path = unet_names.from_original(path)
            except KeyError:
                continue
        layers[name] = f"{model}.{path}"
    return layers


def _spell_unet(layer: str, unet_names: "UNetNames") -> Iterator[str]:
    path = layer.removeprefix("unet.")
    yield f"lora_unet_{_flatten(path)}"
    yield layer
    # Blocks of a UNet of no public size, such as the starter model's, may have no original name.
    with contextlib.suppress(KeyError):
        original = unet_names.to_original(path)
        yield f"lora_unet_{_flatten(original)}"
        yield f"diffusion_model.{original}"
    # diffusers before 0.22 kept attention weights in a processor: `attn1.processor.to_q_lora`.
    block, dot, last = path.removesuffix(".0").rpartition(".")
    if dot and last in {"to_q", "to_k", "to_v", "to_out"}:
        yield f"unet.{block}.processor.{last}_lora"


def _spell_text(layer: str) -> Iterator[str]:
    model, _, path = layer.partition(".")
    # Files made under transformers 5.6 and later can lack the level `text_model`.
    for each in (path, path.removeprefix(_TEXT_LEVEL)):
        yield f"{model}.{each}"
        for prefix in _PREFIXES_READ[model]:
            yield f"{prefix}_{_flatten(each)}"


def _flatten(path: str) -> str:
    return path.replace(".", "_")
