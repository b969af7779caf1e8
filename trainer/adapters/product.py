"""The second half of a low-rank change, added to a layer's output in one pass over it.

Written as `output + scale * (hidden @ up.T)` the same takes four passes over a tensor of the
output's size, and two more in the backward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def add_product(output: Tensor, hidden: Tensor, up: Tensor, scale: float) -> Tensor:
    """Returns output + scale * up(hidden), in the memory of the output.

    Args:
        output: Of a linear layer, [..., out], or of a convolution, [B, out, h, w]. It is changed,
            and must not be needed by its own backward pass, which no layer's is.
        hidden: [..., rank] or [B, rank, h, w].
        up: [out, rank] or [out, rank, 1, 1].
        scale: alpha / rank, times the adapter's multiplier.
    """
    if output.dtype != hidden.dtype or not output.is_contiguous():
        change = multiply(hidden, up) * scale
        return output + change.to(output.dtype)
    result: Tensor = _AddProduct.apply(output, hidden, up.to(hidden.dtype), scale)
    return result


def multiply(hidden: Tensor, up: Tensor) -> Tensor:
    """Returns what the second factor makes of the middle, [..., out] or [B, out, h, w]."""
    if up.ndim == 2:
        return functional.linear(hidden, up)
    return functional.conv2d(hidden, up)


class _AddProduct(torch.autograd.Function):
    """y = y0 + s U h; with G the gradient of y: G for y0, s Uᵀ G for h, s G hᵀ for U."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, hidden: Tensor, up: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(hidden, up)
        ctx.scale = scale
        # Not `mark_dirty`: the output is often a view, whose gradient autograd would then copy.
        torch.autograd.graph.increment_version(output)
        output = output.data
        # Autocast would cast what has the right format already, and remember it without gradients.
        with torch.autocast(output.device.type, enabled=False):
            if up.ndim == 2:
                rows = output.view(-1, output.shape[-1])
                rows.addmm_(hidden.reshape(-1, hidden.shape[-1]), up.T, alpha=scale)
            else:
                matrix = up.flatten(1).expand(len(output), -1, -1)
                output.flatten(2).baddbmm_(matrix, hidden.flatten(2), alpha=scale)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden, up = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            if up.ndim == 2:
                rows = gradient.reshape(-1, gradient.shape[-1])
                of_hidden = _scaled(rows, up, ctx.scale)
                of_up = _scaled(rows.T, hidden.reshape(-1, hidden.shape[-1]), ctx.scale)
            else:
                columns = gradient.flatten(2)
                matrix = up.flatten(1).T.expand(len(columns), -1, -1)
                of_hidden = _scaled(matrix, columns, ctx.scale)
                of_up = _scaled(columns, hidden.flatten(2).transpose(1, 2), ctx.scale).sum(0)
        return gradient, of_hidden.view(hidden.shape), of_up.view(up.shape), None


def _scaled(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Returns scale * first @ second without a pass for the scale."""
    if scale == 1:
        return first @ second
    anything = second.flatten()[:1]  # beta = 0 has it ignored
    multiply = torch.addmm if first.ndim == 2 else torch.baddbmm
    return multiply(anything, first, second, beta=0, alpha=scale)
