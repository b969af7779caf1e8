"""DoRA: direction and magnitude of the weight are trained separately."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.adapters.base import Adapter, Layer, apply_weight, is_packed, read_weight
from trainer.adapters.lora import LoRA

Axis = Literal["input", "output"]


class DoRA(Adapter):
    """Weight-decomposed adaptation (Liu et al. 2024, arXiv:2402.09353) around another adapter.

    The adapted weight is V * magnitude / |V| with V = W + inner.delta(). The paper takes the
    lengths of V's rows, one per output channel; files that other programs read exactly hold one per
    *input* channel, so that is what new adapters learn.

    The multiplier mixes base and adapted weight, W + multiplier * (W' - W), as A1111 and ComfyUI
    do; the trainer that wrote a file may have meant something else by weights other than 1.

    Args:
        layer: The frozen layer; its weight is read in every step and never held by the adapter.
        inner: What changes the direction.
        axis: The channels that have a length each.
        dropout: Share of the input that is zeroed while training.

    Attributes:
        exact_gradient: Whether gradients flow through |V|. The paper (section 4.3) takes it for a
            constant, which costs no memory and changes the result little.
    """

    kind: ClassVar[str] = "dora"

    def __init__(
        self, layer: Layer, inner: Adapter, axis: Axis = "input", dropout: float = 0.0
    ) -> None:
        super().__init__(layer, dropout)
        self._layer = [layer]  # in a list, so that it is no submodule of the adapter
        self.inner = inner
        self.starts_at_zero = tuple(f"inner.{name}" for name in inner.starts_at_zero)
        # A length is |W| at first: decay would shrink the base model's own weight.
        self.never_decayed = ("magnitude", *(f"inner.{name}" for name in inner.never_decayed))
        self.axis = axis
        self.exact_gradient = False
        channel_axis = 1 if axis == "input" else 0
        self._summed = [dim for dim in range(len(self.shape)) if dim != channel_axis]
        # Where the inner adapter is: a layer may be on the device already.
        place = next(inner.parameters()).device
        self.magnitude = nn.Parameter(self._measure(read_weight(layer).float().to(place)))

    def set_dropout(self, inputs: float, ranks: float, module: float) -> None:
        """Sets what is left out; the ranks are the inner adapter's."""
        super().set_dropout(inputs, 0.0, module)
        self.inner.set_dropout(0.0, ranks, 0.0)

    def reset(self, generator: torch.Generator) -> None:
        """Starts the inner adapter, and the lengths at those of the base weight."""
        self.inner.reset(generator)
        with torch.no_grad():
            self.magnitude.copy_(self._measure(self._base_weight()))

    def delta(self) -> Tensor:
        """Returns the adapted weight less the base weight."""
        base = self._base_weight()
        change = self.inner.delta()
        return (base + change) * self._factor(base, change) - base

    def tensors(self) -> dict[str, Tensor]:
        """Returns the inner adapter's tensors and dora_scale, (1, in) or (out, 1)."""
        return {**self.inner.tensors(), "dora_scale": self.magnitude}

    def forward(self, x: Tensor) -> Tensor:
        """Returns the change of the output, without keeping anything as large as the weight."""
        if self.exact_gradient:
            return super().forward(x)
        x = self.prepare_input(x)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            base = self._base_weight()
            lengths = self._measure(base + self.inner.delta())
        factor = self.magnitude / lengths
        if self.axis == "input":
            spread = factor[0]  # [in] or [in, 1, 1]: per channel of the input
            return self._apply_base(x * (spread - 1)) + self.inner(x * spread)
        spread = factor[:, 0]  # [out] or [out, 1, 1]: per channel of the output
        return self._apply_base(x) * (spread - 1) + self.inner(x) * spread

    def _apply_base(self, x: Tensor) -> Tensor:
        layer = self._layer[0]

        def apply(given: Tensor) -> Tensor:
            weight = read_weight(layer).to(given.device)
            return apply_weight(given.to(weight.dtype), weight, self.conv)

        if is_packed(layer) and torch.is_grad_enabled():  # unpack again rather than keep it
            product: Tensor = checkpoint(apply, x, use_reentrant=False, preserve_rng_state=False)
            return product
        return apply(x)

    def _base_weight(self) -> Tensor:
        """Returns the frozen weight in the adapter's number format and shape."""
        like = next(self.inner.parameters())
        return read_weight(self._layer[0]).to(like.device, like.dtype).view(self.shape)

    def _factor(self, base: Tensor, change: Tensor) -> Tensor:
        if self.exact_gradient:
            return self.magnitude / self._measure(base + change)
        with torch.no_grad():
            lengths = self._measure(base + change)
        return self.magnitude / lengths

    def _measure(self, weight: Tensor) -> Tensor:
        """Returns the lengths, (1, in(, 1, 1)) or (out, 1(, 1, 1))."""
        lengths = torch.linalg.vector_norm(weight, dim=self._summed, keepdim=True)
        return lengths.clamp_min(torch.finfo(weight.dtype).eps)


def make_dora(
    layer: Layer, rank: int, alpha: float, dropout: float = 0.0, *, axis: Axis = "input"
) -> DoRA:
    """Returns a DoRA around LoRA, per input channel by default."""
    return DoRA(layer, LoRA(layer, rank, alpha), axis, dropout)
