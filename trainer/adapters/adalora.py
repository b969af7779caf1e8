"""AdaLoRA: a LoRA in the form of a singular value decomposition, whose ranks can be taken away."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.adapters.base import Layer
from trainer.adapters.low_rank import TwoFactors

_SPREAD = 0.02  # of the singular vectors at the start, as the authors have it


class AdaLoRA(TwoFactors):
    """Adaptive budget allocation (Zhang et al. 2023, arXiv:2303.10512, section 3.1).

    delta = (alpha / rank) * left diag(values) right. `trainer.adapters.allocation` keeps left and
    right nearly orthogonal and sets values to zero where they matter least. A file holds a plain
    LoRA of the ranks that are left.

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: At the start.
        alpha: The change is scaled by alpha / rank, with the rank of the start also later.
        dropout: Share of the input that is zeroed while training.

    Attributes:
        kept: 1 per rank, 0 for those that were given up for good; part of the state.

    Raises:
        ValueError: the layer is a grouped convolution.
    """

    kind: ClassVar[str] = "adalora"
    starts_at_zero = ("values",)
    kept: Tensor

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer, rank, alpha, dropout)
        self.right = nn.Parameter(torch.zeros(rank, math.prod(self.shape[1:])))
        self.values = nn.Parameter(torch.zeros(rank))
        self.left = nn.Parameter(torch.zeros(self.shape[0], rank))
        self.register_buffer("kept", torch.ones(rank))

    def reset(self, generator: torch.Generator) -> None:
        """Initialises the singular vectors at random and the values to zero."""
        for parameter in (self.right, self.left):
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * _SPREAD)
        nn.init.zeros_(self.values)
        nn.init.ones_(self.kept)

    def delta(self) -> Tensor:
        """Returns the product of all ranks, of which those given up are zero."""
        change = (self.left * (self.values * self.kept)) @ self.right
        return change.view(self.shape) * self.scale

    def norm(self) -> Tensor:
        """Returns the norm of the product, from small products."""
        left = self.left * (self.values * self.kept)
        squared = ((left.T @ left) * (self.right @ self.right.T)).sum()
        return squared.clamp_min(0).sqrt() * self.scale

    def shrink(self, share: Tensor) -> None:
        """Makes the values smaller; the vectors keep their length."""
        self.values.mul_(share)

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns a plain LoRA of the ranks whose value is not zero; of rank 1 where none is left.

        Each value goes half into down and half into up, which wastes no digits in fp16.
        """
        values = self.values * self.kept
        left = values.nonzero().flatten()
        left = left if left.numel() else left.new_zeros(1)
        half = values[left].abs().sqrt()
        down = self.right[left] * half[:, None]
        up = self.left[:, left] * (half * values[left].sign())
        point = (1,) * len(self.shape[2:])
        return down.view(-1, *self.shape[1:]), up.view(*up.shape, *point), self.scale

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the middle of an input times the values, and the second factor."""
        hidden = self.to_middle(x, self.right.view(self.rank, *self.shape[1:]))
        point = (1,) * len(self.shape[2:])
        up = self.left.view(*self.left.shape, *point)
        return hidden * self.spread(self.values * self.kept), up
