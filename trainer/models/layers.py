"""The layers of a base model: those that adapters may sit on, and the others that files may change.

The rule is that of the kohya format: in the UNet all linear and convolution layers inside the
transformer blocks and, with convolutions on, inside resnet blocks and down- and up-samplers; in a
text encoder the linear layers of attention and feed-forward. Layers outside (the first and last
convolution, the time embedding) are left alone because other programs do not read them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from trainer.config import Part

_OUTSIDE_TEXT_MODEL = ("text_model.", "text_projection")


@dataclass(frozen=True)
class ModelLayer:
    """A linear or convolution layer.

    Attributes:
        name: Full name with the model in front, the same on every version of transformers.
        layer: The frozen layer.
        part: Decides the learning rate: "unet", "conv" or "text".
    """

    name: str
    layer: nn.Linear | nn.Conv2d
    part: Part


def list_adaptable_layers(
    models: Mapping[str, nn.Module], blocks: Mapping[str, Part]
) -> list[ModelLayer]:
    """Returns every layer that can carry an adapter.

    Args:
        models: The models by their names: "unet", "text_encoder" …
        blocks: Part of the layers inside a block, by the block's class name; see `FamilySpec`.
    """
    layers = []
    for prefix, model in models.items():
        for path, block in model.named_modules():
            part = blocks.get(type(block).__name__)
            if part is None:
                continue
            for inner, layer in block.named_modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    name = name_layer(f"{prefix}.{path}.{inner}")
                    layers.append(ModelLayer(name, layer, part))
    return layers


def list_all_layers(
    models: Mapping[str, nn.Module], blocks: Mapping[str, Part]
) -> list[ModelLayer]:
    """Returns every linear and convolution layer, the adaptable ones first.

    A file of another program may change layers that we do not train, such as the first convolution.

    Args:
        models: As for `list_adaptable_layers`.
        blocks: As for `list_adaptable_layers`.
    """
    layers = list_adaptable_layers(models, blocks)
    known = {each.name for each in layers}
    for prefix, model in models.items():
        part: Part = "text" if prefix.startswith("text_encoder") else "conv"
        for path, layer in model.named_modules():
            name = name_layer(f"{prefix}.{path}")
            if isinstance(layer, nn.Linear | nn.Conv2d) and name not in known:
                layers.append(ModelLayer(name, layer, part))
    return layers


def replace_layers(
    blocks: Iterable[nn.Module], makers: Mapping[type[nn.Module], Callable[[Any], nn.Module]]
) -> None:
    """Replaces the layers in blocks by what is made of each, one at a time.

    Args:
        blocks: Modules; layers of exactly the types in `makers` are replaced at any depth.
        makers: By a layer's type, what makes the layer that takes its place.
    """
    # Nested layers are replaced through their parent, so the list is made before anything changes.
    places = [
        (parent, name, layer)
        for block in blocks
        for parent in block.modules()
        for name, layer in parent.named_children()
        if type(layer) in makers
    ]
    for parent, name, layer in places:
        setattr(parent, name, makers[type(layer)](layer))


def name_layer(name: str) -> str:
    """Returns the name with the level `text_model` that newer transformers versions leave out."""
    head, dot, rest = name.partition(".")
    inside = head.startswith("text_encoder") and dot and not rest.startswith(_OUTSIDE_TEXT_MODEL)
    return f"{head}.text_model.{rest}" if inside else name
