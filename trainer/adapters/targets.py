"""A layer that carries an adapter, and how the adapter is trained there."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainer.adapters.base import Layer
from trainer.config import Part

Role = Literal["random", "zero", "steady"]  # of a weight: A, B, or one that must not decay


@dataclass(frozen=True)
class Target:
    """A layer that can carry an adapter.

    Attributes:
        name: Full name with the model in front, the same on every version of transformers.
        layer: The frozen layer.
        part: Decides the learning rate: "unet", "conv" or "text"; "word" is no layer.
        rate: Multiplies the learning rate of its part.
    """

    name: str
    layer: Layer
    part: Part
    rate: float = 1.0

    @property
    def wide(self) -> bool:
        """Whether the kernel is larger than 1 x 1, which decides between rank and conv_rank."""
        return isinstance(self.layer, nn.Conv2d) and max(self.layer.kernel_size) > 1
