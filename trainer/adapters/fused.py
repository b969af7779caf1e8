"""Frozen linear layers together with their LoRA, as one autograd function.

Apart they are three operations forward, and six backward: the input's gradient comes in two parts
that autograd adds up, and with q, k and v of one input in six. Together the parts are added up by
the matrix products themselves, and layers of one input share the products with their small factors
(as fused q, k, v projections do in LoRA servers: Chen et al. 2023, arXiv:2310.18547, section 3).
"""

import functools
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.adapters.base import Adapter
from trainer.adapters.fused_product import lay_side_by_side, multiply_together
from trainer.adapters.lora import LoRA

# Layers of one module that read the same input, by the ends of their names and in the module's own
# order: in self-attention of diffusers, in its cross-attention, where q reads the image, and in
# CLIP of transformers.
_SAME_INPUT = (
    ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    ("attn2.to_k", "attn2.to_v"),
    ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"),
)


class FusedLayer:
    """A frozen linear layer whose forward pass adds its LoRA in the same operation.

    While dropout is on, or number formats differ, it leaves the adapter to its hook.

    Args:
        layer: Its `forward` is replaced until `remove`.
        adapter: On this layer.
    """

    def __init__(self, layer: nn.Module, adapter: LoRA) -> None:
        self._layer = weakref.ref(layer)  # which owns this object
        self.adapter = adapter
        self.group: FusedGroup | None = None
        self._added = False
        layer.forward = functools.partial(_forward, self)

    @property
    def layer(self) -> Any:
        """The frozen layer."""
        return self._layer()

    def take_added(self) -> bool:
        """Returns whether the last output has the adapter's change already; once per output."""
        added, self._added = self._added, False
        return added

    def remove(self) -> None:
        """Gives the layer its own forward pass back."""
        vars(self.layer).pop("forward", None)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, with the adapter's change where that is possible."""
        if not self.fits(x):
            output: Tensor = type(self.layer).forward(self.layer, x)
            return output
        self._added = True
        if isinstance(self.layer, nn.Conv2d):
            return _compute([self], x.permute(0, 2, 3, 1))[0].permute(0, 3, 1, 2)
        return _compute([self], x)[0] if self.group is None else self.group.compute(self, x)

    def fits(self, x: Tensor) -> bool:
        """Returns whether one operation can compute layer and adapter for an input."""
        adapter = self.adapter
        if adapter.multiplier == 0 or (adapter.training and adapter.drops):
            return False
        if isinstance(self.layer, nn.Conv2d) and not _is_last(x):
            return False
        if torch.is_autocast_enabled(x.device.type):
            return True
        return x.dtype == adapter.down.dtype == self.layer.weight.dtype


class FusedGroup:
    """Layers that read one input, of one rank and one shape: computed when the first is called."""

    def __init__(self, members: Sequence[FusedLayer]) -> None:
        self.members = list(members)
        self._input: Tensor | None = None
        self._outputs: dict[FusedLayer, Tensor] = {}
        for member in members:
            member.group = self

    def compute(self, member: FusedLayer, x: Tensor) -> Tensor:
        """Returns a member's output for an input; those of the others wait for their call."""
        if self._input is not x or member not in self._outputs:
            if not self._is_alike(x):
                return _compute([member], x)[0]
            self.share_storage()  # the frozen weights are others after they were offloaded
            outputs = _compute(self.members, x)
            self._input, self._outputs = x, dict(zip(self.members, outputs, strict=True))
        output = self._outputs.pop(member)
        if not self._outputs:
            self._input = None
        return output

    def _is_alike(self, x: Tensor) -> bool:
        first = self.members[0].adapter
        scale = first.scale * first.multiplier
        return all(
            each.adapter.scale * each.adapter.multiplier == scale and each.fits(x)
            for each in self.members
        )

    def share_storage(self) -> None:
        """Lays the members' weights side by side, so that one product reads them all.

        Those of an offloaded block are there already, where their sizes are multiples of 64 bytes.
        """
        adapters = [member.adapter for member in self.members]
        for of_adapters in ([each.down for each in adapters], [each.up for each in adapters]):
            lay_side_by_side(of_adapters)
        for name in ("weight", "bias"):
            frozen = [getattr(member.layer, name) for member in self.members]
            if all(isinstance(each, nn.Parameter) for each in frozen):
                lay_side_by_side(frozen)


def fuse(
    layers: Mapping[str, nn.Module], adapters: Mapping[str, Adapter]
) -> tuple[dict[str, FusedLayer], list[FusedGroup]]:
    """Fuses the layers that can be, all of them plain linear ones with a LoRA.

    Args:
        layers: Frozen layers by name. Those in 4 or 8 bits, and those that carry an adapter
            already, stay as they are.
        adapters: By the same names.

    Returns:
        The fused layers by name, and the groups of those that read one input.
    """
    fused = {
        name: FusedLayer(layers[name], adapter)
        for name, adapter in adapters.items()
        if type(adapter) is LoRA and _is_matrix(layers[name]) and not layers[name]._forward_hooks
    }
    groups = [
        FusedGroup([fused[name] for name in names])
        for names in _list_groups(fused)
        if len({_describe(fused[name]) for name in names}) == 1
    ]
    return fused, groups


def _is_matrix(layer: nn.Module) -> bool:
    """Returns whether a layer multiplies each position by one matrix, as 1 x 1 convolutions do."""
    if type(layer) is not nn.Conv2d:
        return type(layer) is nn.Linear
    single = layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0)
    return single and layer.groups == 1


def _is_last(x: Tensor) -> bool:
    """Returns whether an input of a convolution is a matrix as it lies in memory."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _list_groups(names: Iterable[str]) -> list[list[str]]:
    """Returns the names that belong together, where all of a module's are there."""
    known, groups = set(names), []
    for name in names:
        for ends in _SAME_INPUT:
            if name.endswith(ends[0]):
                group = [name.removesuffix(ends[0]) + end for end in ends]
                groups += [group] if known.issuperset(group) else []
    return groups


def _describe(member: FusedLayer) -> tuple[Any, ...]:
    return member.adapter.shape, member.adapter.rank, member.layer.bias is None


def _forward(fused: FusedLayer, x: Tensor) -> Tensor:
    return fused.forward(x)


def _compute(members: Sequence[FusedLayer], x: Tensor) -> Sequence[Tensor]:
    """Returns the outputs of layers for one input."""
    kind, adapter = x.device.type, members[0].adapter
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    layers = [member.layer for member in members]
    return multiply_together(
        x,
        adapter.scale * adapter.multiplier,
        (
            [member.adapter.down.flatten(1) for member in members],
            [member.adapter.up.flatten(1) for member in members],
        ),
        (
            [layer.weight.flatten(1) for layer in layers],
            [layer.bias for layer in layers if layer.bias is not None],
        ),
    )
