"""Kinds whose delta is a function of the base weight: (IA)³, GLoRA, OFT and BOFT of LyCORIS.

Their delta has a closed form, which is computed once from the layer's weight; the adapter is a full
difference then. They are read, baked, merged and previewed, not trained.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainer.adapters.base import Layer, read_weight, shape_of
from trainer.adapters.full import FullDifference

_GLORA = ("glora_a1", "glora_a2", "glora_b1", "glora_b2")


def restore_from_weight(
    layer: Layer, tensors: Mapping[str, Tensor], alpha: float
) -> FullDifference:
    """Returns the full difference that a file's tensors describe on a layer.

    Args:
        layer: Where it sits; its weight is read.
        tensors: By the names of LyCORIS; those of GLoRA with "glora_" in front.
        alpha: The strength of GLoRA; the constraint of OFT and BOFT, 0 for none.

    Raises:
        ValueError: the tensors do not fit the layer.
    """
    weight = read_weight(layer).float().reshape(shape_of(layer))
    make = next(make for name, make in DELTAS.items() if name in tensors)
    device = weight.device
    parts = {name: value.to(device, torch.float32) for name, value in tensors.items()}
    with torch.no_grad():
        diff = make(weight, parts, alpha)
    return FullDifference.from_tensors(layer, {"diff": diff}, 1.0)


def scale_channels(weight: Tensor, parts: Mapping[str, Tensor], _alpha: float) -> Tensor:
    """Returns W * s per channel of the output or of the input ((IA)³, arXiv:2205.05638).

    The factors of a file are s, where the adapted channel is 1 + s times the base model's.
    """
    factors = parts["ia3_scale"].flatten()
    axis = 1 if bool(parts["on_input"].flatten()[0]) else 0
    if factors.numel() != weight.shape[axis]:
        side = "inputs" if axis else "outputs"
        msg = f"it has {factors.numel()} factors, where the layer has {weight.shape[axis]} {side}"
        raise ValueError(msg)
    sizes = [1] * weight.ndim
    sizes[axis] = -1
    return weight * factors.view(sizes)


def add_products(weight: Tensor, parts: Mapping[str, Tensor], alpha: float) -> Tensor:
    """Returns (W A + B) * alpha / rank with A and B of low rank (GLoRA, arXiv:2306.07967).

    Files have the factors in one of two orders: A is a1 a2 with a tall a1 in those of today, and
    a2 a1 with a wide a1 in those of before; B likewise.
    """
    missing = [name for name in _GLORA if name not in parts]
    if missing:
        msg = f"it lacks {', '.join(missing)}"
        raise ValueError(msg)
    a1, a2, b1, b2 = (parts[name].flatten(1) for name in _GLORA)
    if a1.shape[0] == a1.shape[1]:
        msg = f"its rank of {a1.shape[0]} equals its inputs, so the order of factors is not defined"
        raise ValueError(msg)
    if a1.shape[0] < a1.shape[1]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    rank = a1.shape[1]
    fits = (a2.shape[0], b1.shape[1], b2.shape[0]) == (rank,) * 3 and a1.shape[0] == a2.shape[1]
    sizes = (a1.shape[0], b1.shape[0], b2.shape[1])
    if not fits or sizes != (weight.shape[1], weight.shape[0], weight[0].numel()):
        msg = f"its factors do not fit a weight of the shape {tuple(weight.shape)}"
        raise ValueError(msg)
    turned = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    return (turned + (b1 @ b2).view(weight.shape)) * (alpha / rank)


def rotate_outputs(weight: Tensor, parts: Mapping[str, Tensor], alpha: float) -> Tensor:
    """Returns R W - W with R orthogonal, in blocks on the diagonal or as a butterfly.

    OFT (arXiv:2306.07280) has blocks [n, b, b], BOFT (arXiv:2311.06243) one such set for each level
    of a butterfly, [m, n, b, b]. A block is the Cayley transform of the skew-symmetric part of what
    the file holds, whose norm is limited to alpha times the outputs.
    """
    blocks = parts["oft_blocks"]
    outputs = weight.shape[0]
    if blocks.ndim not in {3, 4} or blocks.shape[-3] * blocks.shape[-1] != outputs:
        msg = f"its oft_blocks have the shape {tuple(blocks.shape)}, where it has {outputs} outputs"
        raise ValueError(msg)
    rotations = _make_rotations(blocks, alpha * outputs)
    if blocks.ndim == 3:
        count, size = blocks.shape[0], blocks.shape[1]
        rows = weight.reshape(count, size, -1)
        rotated = (rotations.transpose(1, 2) @ rows).reshape(weight.shape)
    else:
        rotated = _apply_butterfly(rotations, weight.flatten(1)).view(weight.shape)
    if "rescale" in parts:
        rotated = rotated * parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
    return rotated - weight


def _make_rotations(blocks: Tensor, limit: float) -> Tensor:
    """Returns (I + Q)(I - Q)⁻¹ for each block, Q the skew-symmetric part, in fp64."""
    skew = (blocks - blocks.transpose(-1, -2)).double()
    norm = torch.linalg.vector_norm(skew)
    if limit > 0 and norm > limit:
        skew = skew * (limit / norm)
    one = torch.eye(blocks.shape[-1], dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve(one - skew, one + skew, left=False).float()


def _apply_butterfly(levels: Tensor, rows: Tensor) -> Tensor:
    """Returns the rows after each level, which mixes rows that are 2^i half blocks apart."""
    size = levels.shape[-1]
    for number, blocks in enumerate(levels):
        apart = 2**number * size // 2
        if rows.shape[0] % (2 * apart):
            msg = f"its {len(levels)} levels do not fit {rows.shape[0]} outputs"
            raise ValueError(msg)
        # Pairs that are `apart` rows away from each other come next to each other and back.
        pairs = rows.unflatten(0, (-1, 2, apart)).transpose(1, 2).reshape(-1, size, rows.shape[1])
        mixed = (blocks @ pairs).reshape(-1, apart, 2, rows.shape[1])
        rows = mixed.transpose(1, 2).reshape(rows.shape)
    return rows


# By the part that only this kind has.
DELTAS: dict[str, Callable[[Tensor, Mapping[str, Tensor], float], Tensor]] = {
    "ia3_scale": scale_channels,
    "glora_a1": add_products,
    "oft_blocks": rotate_outputs,
}
