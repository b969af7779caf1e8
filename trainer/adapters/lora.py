"""LoRA: a change of low rank, h = W0 x + (alpha / rank) * B A x."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.adapters.base import Layer, fill, init_kaiming
from trainer.adapters.low_rank import TwoFactors


class LoRA(TwoFactors):
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

    kind: ClassVar[str] = "lora"
    starts_at_zero = ("up",)

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer, rank, alpha, dropout)
        outputs, inputs = self.shape[:2]
        kernel = self.shape[2:]
        point = (1,) * len(kernel)
        self.down = nn.Parameter(torch.zeros(rank, inputs, *kernel))
        self.up = nn.Parameter(torch.zeros(outputs, rank, *point))

    @classmethod
    def from_tensors(cls, layer: Layer, tensors: Mapping[str, Tensor], alpha: float) -> "LoRA":
        """Returns the adapter that a file describes.

        Raises:
            ValueError: the tensors do not fit the layer.
        """
        down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
        adapter = cls(layer, down.shape[0], alpha)
        fill(adapter, {"down": down, "up": up})
        return adapter

    def reset(self, generator: torch.Generator) -> None:
        """Initialises A uniformly as `nn.Linear` does (Kaiming, a = sqrt 5) and B to zero."""
        init_kaiming(self.down, generator)
        nn.init.zeros_(self.up)

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns (down, up, scale) with `delta = scale * up @ down`."""
        return self.down, self.up, self.scale

    def tensors(self) -> dict[str, Tensor]:
        """Returns lora_down.weight, lora_up.weight and alpha, to the last digit."""
        return {**super().tensors(), "alpha": torch.tensor(float(self.alpha))}

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the middle of an input, and the second factor."""
        return self.to_middle(x, self.down), self.up
