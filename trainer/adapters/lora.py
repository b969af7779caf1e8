"""LoRA: a change of low rank, h = W0 x + (alpha / rank) * B A x."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.adapters.base import Adapter, Layer


class LoRA(Adapter):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685, section 4.1).

    On a linear layer `down` is [rank, in] and `up` is [out, rank]. On a convolution (LoCon)
    `down` is a k x k convolution to rank channels, [rank, in, k, k], with the layer's stride and
    padding, and `up` a 1 x 1 convolution, [out, rank, 1, 1].

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: Channels in the middle.
        alpha: The change is scaled by alpha / rank.
        dropout: Share of the input that is zeroed while training.

    Raises:
        ValueError: the layer is a grouped convolution, whose change has no such form.
    """

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer)
        outputs, inputs = self.shape[:2]
        if self.conv is not None and self.conv["groups"] != 1:
            msg = "LoRA cannot be put on a grouped convolution"
            raise ValueError(msg)
        kernel = self.shape[2:]
        point = (1,) * len(kernel)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.down = nn.Parameter(torch.zeros(rank, inputs, *kernel))
        self.up = nn.Parameter(torch.zeros(outputs, rank, *point))

    @property
    def scale(self) -> float:
        """The factor alpha / rank."""
        return self.alpha / self.rank

    def reset(self, generator: torch.Generator) -> None:
        """Draws A uniformly as `nn.Linear` does (Kaiming, a = sqrt 5) and sets B to zero."""
        bound = 1.0 / math.sqrt(self.down[0].numel())
        with torch.no_grad():
            drawn = torch.rand(self.down.shape, generator=generator) * (2 * bound) - bound
            self.down.copy_(drawn)
            self.up.zero_()

    def delta(self) -> Tensor:
        """Returns scale * up @ down in the layer's shape, [out, in] or [out, in, k, k]."""
        return (self.up.flatten(1) @ self.down.flatten(1)).view(self.shape) * self.scale

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns (down, up, scale)."""
        return self.down, self.up, self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Returns the change of the output, through the small middle and without building delta."""
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        down, up = self.down, self.up
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(down.dtype)
        if self.conv is None:
            hidden = functional.linear(x, down)  # [..., rank]
            return functional.linear(hidden, up) * self.scale
        geometry: dict[str, Any] = self.conv
        hidden = functional.conv2d(x, down, **geometry)  # [B, rank, h, w]
        return functional.conv2d(hidden, up) * self.scale
