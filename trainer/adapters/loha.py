"""LoHa: the product, element by element, of two changes of low rank."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.adapters.base import Adapter, Layer, fill


class LoHa(Adapter):
    """Low-rank Hadamard product (FedPara, Hyeon-Woo et al. 2021, arXiv:2108.06098, section 2.2).

    delta = (alpha / rank) * (w1_a @ w1_b) * (w2_a @ w2_b), which can reach the rank rank². Each
    `a` is [out, rank] and each `b` [rank, in] or, on a convolution, [rank, in * k * k].

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: Of both factors.
        alpha: The change is scaled by alpha / rank.
        dropout: Share of the input that is zeroed while training.

    Raises:
        ValueError: the layer is a grouped convolution.
    """

    kind: ClassVar[str] = "loha"
    starts_at_zero = ("w2_a",)

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer, dropout)
        outputs, inputs = self.shape[0], math.prod(self.shape[1:])
        self.rank, self.alpha = rank, alpha
        self.w1_a = nn.Parameter(torch.zeros(outputs, rank))
        self.w1_b = nn.Parameter(torch.zeros(rank, inputs))
        self.w2_a = nn.Parameter(torch.zeros(outputs, rank))
        self.w2_b = nn.Parameter(torch.zeros(rank, inputs))

    @classmethod
    def from_tensors(cls, layer: Layer, tensors: Mapping[str, Tensor], alpha: float) -> "LoHa":
        """Returns the adapter that a file describes.

        Raises:
            ValueError: the tensors do not fit the layer.
        """
        adapter = cls(layer, tensors["hada_w1_b"].shape[0], alpha)
        names = dict(adapter.named_parameters())
        fill(adapter, {name: tensors[f"hada_{name}"] for name in names})
        return adapter

    def reset(self, generator: torch.Generator) -> None:
        """Initialises three factors at random as LyCORIS does and the last one, w2_a, to zero."""
        for parameter, deviation in ((self.w1_a, 0.1), (self.w1_b, 1.0), (self.w2_b, 1.0)):
            with torch.no_grad():
                sample = torch.randn(parameter.shape, generator=generator) * deviation
                parameter.copy_(sample)
        nn.init.zeros_(self.w2_a)

    def delta(self) -> Tensor:
        """Returns scale * (w1_a @ w1_b) * (w2_a @ w2_b) in the layer's shape."""
        return self._multiply(self.w2_a)

    def masked_delta(self, mask: Tensor) -> Tensor:
        """Returns the same with some ranks of the second product left out."""
        return self._multiply(self.w2_a * mask)

    def sample_rank_mask(self) -> Tensor | None:
        """Returns a factor per rank, for all examples the same: they share the product."""
        if self.rank_dropout and self.training:
            return functional.dropout(self.w2_a.new_ones(self.rank), self.rank_dropout)
        return None

    def _multiply(self, last: Tensor) -> Tensor:
        product = (self.w1_a @ self.w1_b) * (last @ self.w2_b)
        return product.view(self.shape) * (self.alpha / self.rank)

    def tensors(self) -> dict[str, Tensor]:
        """Returns hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b and alpha."""
        factors = {f"hada_{name}": value for name, value in self.named_parameters()}
        return {**factors, "alpha": torch.tensor(float(self.alpha))}
