"""Frozen linear and convolution layers whose weights are stored in 8 bits.

A weight is stored as `q · scale` with one scale per output channel, and expanded to the number
format of the input for each product: in the forward pass, and again in the backward pass, because
an expanded weight that autograd keeps would take more memory than was saved.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

from trainer.models.layers import replace_layers


@dataclass(frozen=True)
class EightBitFormat:
    """How a number is stored.

    Attributes:
        dtype: PyTorch's type.
        largest: The largest number of the type; a channel's largest weight becomes it.
    """

    dtype: torch.dtype
    largest: float


# e4m3 (Micikevicius et al. 2022, arXiv:2209.05433, table 1) keeps the relative size of small
# weights, int8 has the smaller error on the whole and exists on every device.
EIGHT_BIT_FORMATS = {
    "fp8": EightBitFormat(torch.float8_e4m3fn, 448.0),
    "int8": EightBitFormat(torch.int8, 127.0),
}


def pack(weight: Tensor, kind: EightBitFormat) -> tuple[Tensor, Tensor]:
    """Returns a weight in 8 bits and its scale per output channel, [out] in fp32.

    `scale = max |w| / largest` over the weights of a channel, so that all of the type's range is
    used; a channel of zeros has the scale 1.
    """
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1) / kind.largest
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    stored = (rows / scale[:, None]).clamp(-kind.largest, kind.largest)
    if not kind.dtype.is_floating_point:
        stored = stored.round()
    return stored.to(kind.dtype).view(weight.shape), scale


def unpack(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a packed weight as numbers of a type."""
    column = scale.view(-1, *[1] * (weight.ndim - 1))
    if dtype == torch.float16:  # a scale can be below fp16's smallest number
        return (weight.float() * column).to(dtype)
    return weight.to(dtype) * column.to(dtype)


class EightBitLinear(nn.Linear):
    """A linear layer whose weight is stored in 8 bits.

    Attributes:
        scale: Per output channel, [out].
    """

    scale: Tensor

    def __init__(self, layer: nn.Linear, kind: EightBitFormat) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        _take_over(self, layer, kind)

    def unpack(self) -> Tensor:
        """Returns the weight in fp32."""
        return unpack(self.weight, self.scale, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output in the number format of the input, or autocast's."""
        x, bias = _cast(x, self.bias)
        result: Tensor = _Linear.apply(x, self.weight, self.scale)
        return result if bias is None else result + bias


class EightBitConv2d(nn.Conv2d):
    """A convolution whose weight is stored in 8 bits.

    Attributes:
        scale: Per output channel, [out].
    """

    scale: Tensor

    def __init__(self, layer: nn.Conv2d, kind: EightBitFormat) -> None:
        size: Any = layer.kernel_size
        super().__init__(
            layer.in_channels, layer.out_channels, size, bias=False, device="meta",
            stride=layer.stride, padding=layer.padding, dilation=layer.dilation,  # type: ignore[arg-type]
            groups=layer.groups,
        )  # fmt: skip
        _take_over(self, layer, kind)

    def unpack(self) -> Tensor:
        """Returns the weight in fp32."""
        return unpack(self.weight, self.scale, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output in the number format of the input, or autocast's."""
        x, bias = _cast(x, self.bias)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        result: Tensor = _Conv2d.apply(x, self.weight, self.scale, geometry)
        return result if bias is None else result + bias.view(-1, 1, 1)


def store_in_eight_bits(unet: nn.Module, kind: EightBitFormat) -> None:
    """Replaces the linear and convolution layers of a UNet's blocks.

    One layer at a time, so that the memory of the larger weights is free before the next one. The
    layers outside the blocks stay as they are: they are small, and everything passes through them.
    """
    blocks = [
        module for name, module in unet.named_children() if name.endswith(("blocks", "block"))
    ]
    makers: dict[type[nn.Module], Any] = {
        nn.Linear: lambda layer: EightBitLinear(layer, kind),
        nn.Conv2d: lambda layer: EightBitConv2d(layer, kind),
    }
    replace_layers(blocks, makers)


def _take_over(packed: Any, layer: Any, kind: EightBitFormat) -> None:
    weight, scale = pack(layer.weight, kind)
    packed.weight = nn.Parameter(weight, requires_grad=False)
    packed.register_buffer("scale", scale)
    packed.bias = layer.bias
    # Nothing may go on holding the larger weight.
    layer.weight = None


def _cast(x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return x.to(dtype), None if bias is None else bias.to(dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return functional.linear(x, unpack(weight, scale, x.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return grad @ unpack(weight, scale, grad.dtype), None, None


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, geometry: Any) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.shape, ctx.geometry = x.shape, geometry
        return functional.conv2d(x, unpack(weight, scale, x.dtype), None, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, scale = ctx.saved_tensors
        expanded = unpack(weight, scale, grad.dtype)
        change = conv2d_input(ctx.shape, expanded, grad, *ctx.geometry)
        return change, None, None, None
