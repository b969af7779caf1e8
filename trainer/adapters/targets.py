"""Which layers an adapter sits on: the layers that every program can read back.

The rule is that of the kohya format: in the UNet all linear and convolution layers inside the
transformer blocks and, with convolutions on, inside resnet blocks and down- and up-samplers; in a
text encoder the linear layers of attention and feed-forward. Layers outside (the first and last
convolution, the time embedding) are left alone because other programs do not read them.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainer.adapters.base import Layer
from trainer.config import Part

Role = Literal["drawn", "zero", "steady"]  # of a weight: A, B, or one that must not decay

# Class names, not classes: importing diffusers and transformers here would cost seconds.
_PARTS: dict[str, Part] = {
    "Transformer2DModel": "unet",
    "ResnetBlock2D": "conv",
    "Downsample2D": "conv",
    "Upsample2D": "conv",
    "CLIPAttention": "text",
    "CLIPMLP": "text",
}
_OUTSIDE_TEXT_MODEL = ("text_model.", "text_projection")


@dataclass(frozen=True)
class Target:
    """A layer that can carry an adapter.

    Attributes:
        name: Full name with the model in front, the same on every version of transformers.
        layer: The frozen layer.
        part: Decides the learning rate: "unet", "conv" or "text"; "word" is no layer.
        wide: Whether the kernel is larger than 1 x 1, which decides between rank and conv_rank.
        rate: Multiplies the learning rate of its part.
    """

    name: str
    layer: Layer
    part: Part
    wide: bool
    rate: float = 1.0


def find_targets(models: dict[str, nn.Module]) -> list[Target]:
    """Returns every layer of the models ("unet", "text_encoder") that can carry an adapter."""
    found = []
    for prefix, model in models.items():
        for path, block in model.named_modules():
            part = _PARTS.get(type(block).__name__)
            if part is None:
                continue
            for inner, layer in block.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    name = name_layer(f"{prefix}.{path}.{inner}")
                    found.append(Target(name, layer, part, _is_wide(layer)))
    return found


def find_layers(models: dict[str, nn.Module]) -> list[Target]:
    """Returns every linear and convolution layer, the targets first.

    A file of another program may change layers that we do not train, such as the first convolution.
    """
    found = find_targets(models)
    known = {target.name for target in found}
    for prefix, model in models.items():
        part: Part = "text" if prefix.startswith("text_encoder") else "conv"
        for path, layer in model.named_modules():
            name = name_layer(f"{prefix}.{path}")
            if isinstance(layer, nn.Linear | nn.Conv2d) and name not in known:
                found.append(Target(name, layer, part, _is_wide(layer)))
    return found


def name_layer(name: str) -> str:
    """Returns the name with the level `text_model` that newer transformers versions leave out."""
    head, dot, rest = name.partition(".")
    inside = head.startswith("text_encoder") and dot and not rest.startswith(_OUTSIDE_TEXT_MODEL)
    return f"{head}.text_model.{rest}" if inside else name


def _is_wide(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1
