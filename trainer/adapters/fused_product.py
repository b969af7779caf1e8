"""What frozen layers of one input make of it together with their LoRA, as one autograd function."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer.adapters.product import scaled_product

Pair = tuple[Sequence[Tensor], Sequence[Tensor]]


def multiply_together(x: Tensor, scale: float, factors: Pair, frozen: Pair) -> Sequence[Tensor]:
    """Returns W x + b + scale * U A x for the layers of one input x, [..., out] each.

    Args:
        x: [..., in], in the number format of the products.
        scale: alpha / rank, times the adapters' multiplier.
        factors: The A, [rank, in] each, and the U, [out, rank] each.
        frozen: The W, [out, in] each, and the b, [out] each; none where the layers have no bias.
    """
    tensors = (*factors[0], *factors[1], *frozen[0], *frozen[1])
    outputs = _Fused.apply(x, scale, len(factors[0]), *tensors)
    return outputs if isinstance(outputs, tuple) else (outputs,)


class _Fused(torch.autograd.Function):
    """y_i = W_i x + b_i + s U_i A_i x for the layers i of one input x.

    With G_i the gradient of y_i and H_i = s U_iᵀ G_i: G_i h_iᵀ s for U_i, H_i xᵀ for A_i, and
    the sum of W_iᵀ G_i + A_iᵀ H_i for x. The frozen W_i and b_i get none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, count: int, *tensors: Tensor) -> Any:
        downs, ups, weights, biases = (
            tensors[start : start + count] for start in range(0, 4 * count, count)
        )
        rows = x.reshape(-1, x.shape[-1])
        with torch.autocast(x.device.type, enabled=False):
            down = _stack(downs).flatten(0, 1).to(x.dtype)  # [count · rank, in]
            up = _stack(ups).to(x.dtype)  # [count, out, rank]
            frozen = [each.to(x.dtype) for each in _join(weights)]
            outputs = _multiply(rows, frozen, biases)  # [rows, count · out]
            hidden = rows @ down.T  # [rows, count · rank]
            if count == 1:
                outputs.addmm_(hidden, up[0].T, alpha=scale)
            else:
                parts = _split(outputs, count)
                parts.baddbmm_(_split(hidden, count), up.transpose(1, 2), alpha=scale)
        ctx.save_for_backward(rows, hidden, down, up, *frozen)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, downs[0].dtype
        if count == 1:
            return outputs.view(*x.shape[:-1], -1)
        return outputs.view(*x.shape[:-1], count, -1).unbind(-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        rows, hidden, down, up, *frozen = ctx.saved_tensors
        count, of_x = len(up), None
        with torch.autocast(rows.device.type, enabled=False):
            above = [each.reshape(len(rows), -1) for each in gradients]
            if count == 1:
                gradient = above[0]  # [rows, out]
                middles = scaled_product(gradient, up[0], ctx.scale)  # [rows, rank]
                of_up = scaled_product(gradient.T, hidden, ctx.scale)[None]
            else:
                gradient = torch.cat(above, dim=1)  # [rows, count · out]
                columns = _split(gradient, count).transpose(1, 2)
                parts = scaled_product(up.transpose(1, 2), columns, ctx.scale)
                middles = parts.flatten(0, 1).T  # [rows, count · rank]
                of_up = scaled_product(columns, _split(hidden, count), ctx.scale)
            of_down = (middles.T @ rows).view(count, -1, rows.shape[1])
            if ctx.needs_input_grad[0]:
                pieces = gradient.chunk(len(frozen), dim=1)
                of_x = pieces[0] @ frozen[0]
                for piece, weight in zip(pieces[1:], frozen[1:], strict=True):
                    of_x.addmm_(piece, weight)
                of_x = of_x.addmm_(middles, down).view(ctx.shape)
        nothing = [None] * (len(ctx.needs_input_grad) - 3 - 2 * count)
        factors = (*of_down.to(ctx.dtype).unbind(), *of_up.to(ctx.dtype).unbind())
        return of_x, None, None, *factors, *nothing


def _multiply(rows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Returns what the frozen layers make of the rows, side by side, [rows, count · out]."""
    added = [each.to(rows.dtype) for each in (_join(biases) if biases else ())]
    if len(weights) == 1:
        bias = None if not added else added[0] if len(added) == 1 else torch.cat(added)
        return functional.linear(rows, weights[0], bias)
    if len(added) == 1:
        added = list(added[0].chunk(len(weights)))
    outputs = [
        functional.linear(rows, weight, *added[index : index + 1])
        for index, weight in enumerate(weights)
    ]
    return torch.cat(outputs, dim=1)


def _split(matrix: Tensor, count: int) -> Tensor:
    """Returns a matrix whose columns belong to several layers as one per layer, a view."""
    return matrix.view(len(matrix), count, -1).transpose(0, 1)


def _join(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Returns tensors that lie side by side as one, along the first axis; else as they are."""
    joined = _find_stack(tensors)
    return tensors if joined is None else (joined.flatten(0, 1),)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """Returns tensors of one shape along a new first axis, copied unless they lie side by side."""
    joined = _find_stack(tensors)
    return torch.stack(tuple(tensors)) if joined is None else joined


def _find_stack(tensors: Sequence[Tensor]) -> Tensor | None:
    """Returns tensors of one shape along a new first axis, a view of the storage that holds them.

    Returns None where they do not lie side by side in one storage.
    """
    first, size = tensors[0], tensors[0].numel()
    place = first.untyped_storage()._cdata, first.storage_offset()
    for index, each in enumerate(tensors):
        own = each.untyped_storage()._cdata, each.storage_offset() - index * size
        if own != place or not each.is_contiguous():
            return None
    return first.as_strided((len(tensors), *first.shape), (size, *first.stride()))


def lay_side_by_side(parameters: Sequence[nn.Parameter]) -> None:
    """Moves parameters of one shape into one storage; each stays the same parameter."""
    if _find_stack([each.detach() for each in parameters]) is None:
        together = torch.stack([each.detach() for each in parameters])
        for parameter, part in zip(parameters, together, strict=True):
            parameter.data = part
