"""What kinds of low rank have in common: a change is scale * up @ down."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.adapters.base import Adapter, Layer
from trainer.adapters.product import add_product, multiply


class LowRank(Adapter):
    """An adapter whose change is the product of two factors, and in files a plain LoRA."""

    rank: int

    @property
    def file_kind(self) -> str:
        """Plain LoRA, which every program reads."""
        return "lora"

    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns (down, up, scale) with `delta = scale * up @ down`.

        On a linear layer down is [rank, in] and up [out, rank]; on a convolution down is
        [rank, in, k, k] and up [out, rank, 1, 1].
        """

    def delta(self) -> Tensor:
        """Returns scale * up @ down in the layer's shape, [out, in] or [out, in, k, k]."""
        down, up, scale = self.factors()
        return (up.flatten(1) @ down.flatten(1)).view(self.shape) * scale

    def norm(self) -> Tensor:
        """Returns |up @ down| from the small products of each factor with itself."""
        down, up, scale = self.factors()
        down, up = down.flatten(1), up.flatten(1)
        squared = ((up.T @ up) * (down @ down.T)).sum()
        return squared.clamp_min(0).sqrt() * scale

    def tensors(self) -> dict[str, Tensor]:
        """Returns lora_down.weight, lora_up.weight and alpha."""
        down, up, scale = self.factors()
        return {
            "lora_down.weight": down,
            "lora_up.weight": up,
            "alpha": torch.tensor(float(scale * down.shape[0])),
        }

    def to_middle(self, x: Tensor, down: Tensor) -> Tensor:
        """Returns what the first factor makes of an input, [..., rank] or [B, rank, h, w]."""
        if self.conv is None:
            hidden = functional.linear(x, down)
        else:
            geometry: dict[str, Any] = self.conv
            hidden = functional.conv2d(x, down, **geometry)
        if self.rank_dropout and self.training:
            hidden = drop_ranks(hidden, self.rank_dropout, axis=-1 if self.conv is None else 1)
        return hidden

    def from_middle(self, hidden: Tensor, up: Tensor) -> Tensor:
        """Returns what the second factor makes of that."""
        return multiply(hidden, up)

    def spread(self, values: Tensor) -> Tensor:
        """Returns one value per rank or output in a shape that fits [..., n] or [B, n, h, w]."""
        return values if self.conv is None else values[:, None, None]


class TwoFactors(LowRank):
    """A low rank whose change is alpha / rank times what the second factor makes of the middle.

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: Channels in the middle.
        alpha: The change is scaled by alpha / rank.
        dropout: Share of the input that is zeroed while training.
    """

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer, dropout)
        self.rank, self.alpha = rank, alpha

    @property
    def scale(self) -> float:
        """The factor alpha / rank."""
        return self.alpha / self.rank

    @abstractmethod
    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the middle of an input, and the second factor."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the change of the output, through the small middle and without building delta."""
        hidden, up = self.halves(self.prepare_input(x))
        return self.from_middle(hidden, up) * self.scale

    def add_to(self, output: Tensor, x: Tensor) -> Tensor:
        """Returns the layer's output with the change, added in one pass over it."""
        if self.module_dropout and self.training:
            return super().add_to(output, x)
        hidden, up = self.halves(self.prepare_input(x))
        return add_product(output, hidden, up, self.scale * self.multiplier)


def drop_ranks(hidden: Tensor, share: float, axis: int) -> Tensor:
    """Returns the middle with a share of its ranks zeroed per example and the rest made up for it.

    As kohya's trainers do; unlike dropout of the input, all positions of an example lose the same.
    """
    shape = [1] * hidden.ndim
    shape[0], shape[axis] = hidden.shape[0], hidden.shape[axis]
    return hidden * functional.dropout(hidden.new_ones(shape), share)
