"""The two verbs every adapter has."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Layer = nn.Linear | nn.Conv2d


class Adapter(nn.Module, ABC):
    """A trainable change of one frozen linear or convolution layer.

    The layer's output becomes `layer(x) + multiplier * adapter(x)`. The layer itself is not a
    part of the adapter: the adapter only knows its geometry.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.shape = tuple(layer.weight.shape)  # (out, in) or (out, in / groups, k, k)
        self.conv: dict[str, Any] | None = (
            {
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
                "groups": layer.groups,
            }
            if isinstance(layer, nn.Conv2d)
            else None
        )
        self.multiplier = 1.0

    @abstractmethod
    def delta(self) -> Tensor:
        """Returns the weight difference at multiplier 1, in the layer's shape."""

    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns (down, up, scale) with `delta = scale * up @ down`, for export."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the effect on an input at multiplier 1; low-rank kinds have a cheaper way."""
        weight = self.delta().to(x.dtype)
        if self.conv is None:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, **self.conv)

    def reset(self, generator: torch.Generator) -> None:
        """Sets the start values, drawn from a generator on the CPU; the change starts at zero."""
