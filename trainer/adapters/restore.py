"""Adapters from what a file holds."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainer.adapters.base import Adapter, Layer
from trainer.adapters.dora import Axis, DoRA
from trainer.adapters.full import FullDifference
from trainer.adapters.loha import LoHa
from trainer.adapters.lokr import LoKr
from trainer.adapters.lora import LoRA
from trainer.adapters.of_weight import DELTAS, restore_from_weight

# By the tensor that only this kind has; the first row that fits decides.
_KINDS: dict[str, Callable[[Layer, Mapping[str, Tensor], float], Adapter]] = {
    "lora_up.weight": LoRA.from_tensors,
    "hada_w1_a": LoHa.from_tensors,
    "lokr_w1": LoKr.from_tensors,
    "lokr_w1_a": LoKr.from_tensors,
    "diff": FullDifference.from_tensors,
    **dict.fromkeys(DELTAS, restore_from_weight),
}


def restore_adapter(layer: Layer, tensors: Mapping[str, Tensor], alpha: float) -> Adapter:
    """Returns the adapter that a file's tensors describe on a layer.

    Args:
        layer: Where it sits.
        tensors: By the names of LyCORIS; Tucker factors are multiplied out already.
        alpha: The strength; the rank stands for it where the file has none.

    Raises:
        ValueError: the tensors are of no known kind or do not fit the layer.
    """
    restore = next((make for name, make in _KINDS.items() if name in tensors), None)
    if restore is None:
        msg = f"it holds {', '.join(sorted(tensors))}, which is no adapter known here"
        raise ValueError(msg)
    adapter = restore(layer, tensors, alpha)
    scale = tensors.get("dora_scale")
    return adapter if scale is None else _restore_dora(layer, adapter, scale)


def _restore_dora(layer: Layer, inner: Adapter, scale: Tensor) -> DoRA:
    outputs, inputs = inner.shape[:2]
    sizes = tuple(scale.shape)
    axis: Axis
    if sizes[:2] == (1, inputs):
        axis = "input"
    elif sizes[:1] == (outputs,):
        axis = "output"
    else:
        msg = f"its dora_scale has the shape {sizes}, where the layer is {outputs} by {inputs}"
        raise ValueError(msg)
    adapter = DoRA(layer, inner, axis)
    if scale.numel() != adapter.magnitude.numel():
        msg = f"its dora_scale has the shape {sizes}, where {inputs} or {outputs} lengths fit"
        raise ValueError(msg)
    with torch.no_grad():
        adapter.magnitude.copy_(scale.reshape(adapter.magnitude.shape))
    return adapter
