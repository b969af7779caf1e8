"""Small adapter files as other programs write them, for the layers of full-size models."""

import torch
from safetensors.torch import save_file

from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.spellings import SPELLINGS, write_name

SDXL_HEADER = {"ss_base_model_version": "sdxl_base_v1-0", "ss_network_module": "networks.lora"}
_GENERATOR = torch.Generator().manual_seed(0)


def noise(*shape):
    return torch.randn(*shape, generator=_GENERATOR) * 0.02


def pick(family, *, conv=True, text=True):
    """Returns some layers of a family with their shapes: attention, convolutions, text."""
    layers = list_layers(family)
    chosen = [k for k in layers if k.startswith("unet.") and ".attn" in k][:12]
    if conv:
        chosen += [k for k in layers if k.startswith("unet.") and len(layers[k]) == 4][:3]
    if text:
        chosen += [k for k in layers if k.startswith("text_encoder.")][:6]
        chosen += [k for k in layers if k.startswith("text_encoder_2.")][:6]
    return {k: layers[k] for k in chosen}


def name(layer, family, spelling="kohya"):
    if spelling == "kohya" and family == "sdxl" and layer.startswith("unet."):
        spelling = "kohya-original"
    if spelling == "kohya-original" and not layer.startswith("unet."):
        spelling = "kohya"
    row = SPELLINGS["kohya" if spelling == "kohya-diffusers" else spelling]
    return write_name(layer, row, FAMILIES[family], FAMILIES[family].unet.names)


def factors(shape, rank=4):
    down = noise(rank, *shape[1:])
    return down, noise(shape[0], rank, *(1,) * (len(shape) - 2))


def make_lora(family, spelling="kohya", *, rank=4, dtype=torch.float16, alpha=True, **which):
    """Returns the tensors of a LoRA with kohya's parts, alpha half the rank."""
    tensors = {}
    for layer, shape in pick(family, **which).items():
        down, up = factors(shape, rank)
        stem = name(layer, family, spelling)
        tensors[f"{stem}.lora_down.weight"] = down.to(dtype)
        tensors[f"{stem}.lora_up.weight"] = up.to(dtype)
        if alpha:
            tensors[f"{stem}.alpha"] = torch.tensor(rank / 2, dtype=dtype)
    return tensors


def make_peft(family, stem, **which):
    """Returns the tensors of a LoRA with PEFT's parts.

    Args:
        family: Of the base model.
        stem: Returns the two keys of a layer.
        which: Layers, see `pick`.
    """
    tensors = {}
    for layer, shape in pick(family, **which).items():
        tensors |= dict(zip(stem(layer), factors(shape), strict=True))
    return tensors


def make_parts(family, make, **which):
    """Returns the tensors of a file of another kind, from a function of a layer's shape."""
    return {
        f"{name(layer, family)}.{part}": value
        for layer, shape in pick(family, conv=False, text=False, **which).items()
        for part, value in make(layer, shape).items()
    }


def write(path, tensors, header=None):
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, header)
    return path
