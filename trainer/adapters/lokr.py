"""LoKr: the Kronecker product of a small matrix and a larger one, which may be of low rank."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.adapters.base import Adapter, Layer, apply_weight, fill, init_kaiming
from trainer.adapters.low_rank import drop_ranks
from trainer.formats.kronecker import find_divisor, is_whole


class LoKr(Adapter):
    """Kronecker adapter (Edalati et al. 2022, arXiv:2212.10650; LyCORIS, arXiv:2309.14859).

    delta = scale * w1 ⊗ w2, where w1 is [out1, in1] and w2 [out2, in2(, k, k)] with out1 * out2
    = out and in1 * in2 = in. Where the rank is less than half of w2's longer side, w2 is
    w2_a @ w2_b, [out2, rank] by [rank, in2 * k * k], and scale is alpha / rank; otherwise w2 is
    whole and scale is 1, as every program reads it.

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: Of w2.
        alpha: Strength, where w2 is of low rank.
        dropout: Share of the input that is zeroed while training.
        factor: Largest side of w1; 0 splits both sides as evenly as they can be.
        first: Shape of w1, instead of the factor.
        whole: Whether w2 is kept whole; None decides by the rank.

    Raises:
        ValueError: the layer is a grouped convolution, or w1's shape does not divide the layer's.
    """

    kind: ClassVar[str] = "lokr"
    starts_at_zero = ("w2", "w2_b")

    def __init__(
        self,
        layer: Layer,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        *,
        factor: int = 0,
        first: tuple[int, int] | None = None,
        whole: bool | None = None,
    ) -> None:
        super().__init__(layer, dropout)
        outputs, inputs = self.shape[:2]
        out1, in1 = first or (find_divisor(outputs, factor), find_divisor(inputs, factor))
        if outputs % out1 or inputs % in1:
            msg = f"its lokr_w1, {out1} by {in1}, does not divide a layer of {outputs} by {inputs}"
            raise ValueError(msg)
        self.second = (outputs // out1, inputs // in1, *self.shape[2:])
        if whole is None:
            whole = is_whole(self.second[:2], rank)
        self.rank, self.alpha, self.whole = rank, alpha, whole
        self.w1 = nn.Parameter(torch.zeros(out1, in1))
        if whole:
            self.w2 = nn.Parameter(torch.zeros(self.second))
        else:
            self.w2_a = nn.Parameter(torch.zeros(self.second[0], rank))
            self.w2_b = nn.Parameter(torch.zeros(rank, math.prod(self.second[1:])))

    @classmethod
    def from_tensors(cls, layer: Layer, tensors: Mapping[str, Tensor], alpha: float) -> "LoKr":
        """Returns the adapter that a file describes, with w1 multiplied out.

        Raises:
            ValueError: the tensors do not fit the layer.
        """
        whole = "lokr_w2" in tensors
        w1 = tensors.get("lokr_w1")
        if w1 is None:
            w1 = tensors["lokr_w1_a"] @ tensors["lokr_w1_b"]
            if whole:  # with both sides whole there is no place for a scale but w1
                w1 = w1 * (alpha / tensors["lokr_w1_b"].shape[0])
        rank = 1 if whole else tensors["lokr_w2_b"].shape[0]
        adapter = cls(layer, rank, alpha, first=(w1.shape[0], w1.shape[1]), whole=whole)
        parts = ("w2",) if whole else ("w2_a", "w2_b")
        fill(adapter, {"w1": w1, **{part: tensors[f"lokr_{part}"] for part in parts}})
        return adapter

    @classmethod
    def largest_rank(cls, shape: tuple[int, ...]) -> int:
        """Returns 0: a rank above the size asks for a whole w2."""
        del shape
        return 0

    @property
    def scale(self) -> float:
        """The factor alpha / rank, or 1 where w2 is whole."""
        return 1.0 if self.whole else self.alpha / self.rank

    def reset(self, generator: torch.Generator) -> None:
        """Initialises w1 at random, and w2 to zero."""
        init_kaiming(self.w1, generator)
        if self.whole:
            nn.init.zeros_(self.w2)
        else:
            init_kaiming(self.w2_a, generator)
            nn.init.zeros_(self.w2_b)

    def delta(self) -> Tensor:
        """Returns scale * w1 ⊗ w2 in the layer's shape."""
        second = self.w2 if self.whole else (self.w2_a @ self.w2_b).view(self.second)
        first = self.w1.view(*self.w1.shape, *(1,) * (second.ndim - 2))
        return torch.kron(first, second) * self.scale

    def tensors(self) -> dict[str, Tensor]:
        """Returns lokr_w1, lokr_w2 or lokr_w2_a and lokr_w2_b, and alpha."""
        factors = {f"lokr_{name}": value for name, value in self.named_parameters()}
        return {**factors, "alpha": torch.tensor(float(self.alpha))}

    def forward(self, x: Tensor) -> Tensor:
        """Returns w1 · X · w2ᵀ, where X is the input with its channels as [in1, in2]."""
        x = self.prepare_input(x)
        (out1, in1), (out2, in2) = self.w1.shape, self.second[:2]
        first = (self.w1 * self.scale).to(x.dtype)
        if self.conv is None:
            halves = x.unflatten(-1, (in1, in2))
            mixed = torch.einsum("...ij,oi->...oj", halves, first)  # [..., out1, in2]
            return self._apply_second(mixed).flatten(-2)
        # Each of the in1 groups of channels is an image of its own for w2's convolution.
        images = x.reshape(x.shape[0] * in1, in2, *x.shape[2:])
        images = self._apply_second(images)  # [B * in1, out2, h, w]
        groups = images.view(x.shape[0], in1, out2, *images.shape[2:])
        mixed = torch.einsum("bi...,oi->bo...", groups, first.to(groups.dtype))
        return mixed.reshape(x.shape[0], out1 * out2, *images.shape[2:])

    def _apply_second(self, x: Tensor) -> Tensor:
        if self.whole:
            return apply_weight(x, self.w2, self.conv)
        if self.conv is None:
            hidden = self._drop_ranks(functional.linear(x, self.w2_b), axis=-1)
            return functional.linear(hidden, self.w2_a)
        hidden = apply_weight(x, self.w2_b.view(-1, *self.second[1:]), self.conv)
        return functional.conv2d(self._drop_ranks(hidden, axis=1), self.w2_a[:, :, None, None])

    def _drop_ranks(self, hidden: Tensor, axis: int) -> Tensor:
        if self.rank_dropout and self.training:
            return drop_ranks(hidden, self.rank_dropout, axis)
        return hidden
