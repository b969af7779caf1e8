"""What kinds of low rank have in common: a change is scale * up @ down."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.adapters.base import Adapter


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
        if self.conv is None:
            return functional.linear(hidden, up)
        return functional.conv2d(hidden, up)

    def spread(self, values: Tensor) -> Tensor:
        """Returns one value per rank or output in a shape that fits [..., n] or [B, n, h, w]."""
        return values if self.conv is None else values[:, None, None]


def drop_ranks(hidden: Tensor, share: float, axis: int) -> Tensor:
    """Returns the middle with a share of its ranks zeroed per example and the rest made up for it.

    As kohya's trainers do; unlike dropout of the input, all positions of an example lose the same.
    """
    shape = [1] * hidden.ndim
    shape[0], shape[axis] = hidden.shape[0], hidden.shape[axis]
    return hidden * functional.dropout(hidden.new_ones(shape), share)
