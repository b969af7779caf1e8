"""The two verbs every adapter has."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

Layer = nn.Linear | nn.Conv2d


class Adapter(nn.Module, ABC):
    """A trainable change of one frozen linear or convolution layer.

    The layer's output becomes `layer(x) + multiplier * adapter(x)`, which is the output of the
    weight `W + multiplier * delta()`: for every kind, DoRA too, the multiplier goes in a straight
    line from the base model to the adapted one and beyond.

    Args:
        layer: The layer to adapt.
        dropout: Share of the input that is zeroed while training.

    Attributes:
        kind: Its row in `ADAPTERS`.
        file_kind: What it is in a file: kinds of low rank are all written as plain LoRA.
        starts_at_zero: Names of the weights that are zero at first, "B" of the papers.
        never_decayed: Names of the weights for which zero is not "no change". Weight decay would
            pull the layer away from the base model by them, so it leaves them alone.
    """

    kind: ClassVar[str]
    starts_at_zero: tuple[str, ...] = ()
    never_decayed: tuple[str, ...] = ()

    def __init__(self, layer: Layer, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape_of(layer)  # (out, in) or (out, in / groups, k, k)
        self.conv = geometry_of(layer)
        self.dropout = dropout
        self.rank_dropout = self.module_dropout = 0.0
        self.multiplier = 1.0
        if self.conv is not None and self.conv["groups"] != 1:
            msg = "an adapter cannot be put on a grouped convolution"
            raise ValueError(msg)

    @property
    def file_kind(self) -> str:
        """The word for it in files."""
        return self.kind

    @classmethod
    def largest_rank(cls, shape: tuple[int, ...]) -> int:
        """Returns the rank above which a layer of a shape gains nothing; 0 where there is none."""
        return min(shape[0], math.prod(shape[1:]))

    @classmethod
    def unite(cls, adapters: Sequence["Adapter"], generator: torch.Generator) -> None:
        """Gives the adapters of a set their shared random weights; most kinds have none."""

    def set_dropout(self, inputs: float, ranks: float, module: float) -> None:
        """Sets what is left out at random while training: of the input, of the ranks, of all."""
        self.dropout, self.rank_dropout, self.module_dropout = inputs, ranks, module

    @abstractmethod
    def delta(self) -> Tensor:
        """Returns the weight difference at multiplier 1, in the layer's shape."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Returns what a file holds of it, by the names of LyCORIS, `alpha` as a scalar."""

    def reset(self, generator: torch.Generator) -> None:
        """Initialises the weights from a generator on the CPU; the delta starts at zero."""

    def norm(self) -> Tensor:
        """Returns the Frobenius norm of the difference, a scalar."""
        return torch.linalg.vector_norm(self.delta())

    def shrink(self, share: Tensor) -> None:
        """Makes the difference smaller, to a share of itself, by making all factors smaller alike.

        For kinds whose difference is a product of all their weights, which is all but DoRA.
        """
        parameters = list(self.parameters())
        for parameter in parameters:
            parameter.mul_(share ** (1 / len(parameters)))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the effect on an input at multiplier 1; low-rank kinds have a cheaper way."""
        x = self.prepare_input(x)
        mask = self.sample_rank_mask()
        if torch.is_grad_enabled():
            # The difference is as large as the layer: made again in the backward pass, not kept.
            change: Tensor = checkpoint(
                self._apply_delta, x, mask, use_reentrant=False, preserve_rng_state=False
            )
            return change
        return self._apply_delta(x, mask)

    def add_to(self, output: Tensor, x: Tensor) -> Tensor:
        """Returns the layer's output with the change of its input x, weighted by the multiplier.

        The output belongs to the caller no longer: its memory may be used for the result.
        """
        change = self(x)
        if self.module_dropout and self.training:
            # Per example, sampled on the device; the rest is not rescaled, as in kohya's.
            shape = (change.shape[0],) + (1,) * (change.ndim - 1)
            mask = torch.rand(shape, device=change.device) >= self.module_dropout
            change = change * mask
        if self.multiplier != 1:
            change = change * self.multiplier
        return output + change.to(output.dtype)

    def sample_rank_mask(self) -> Tensor | None:
        """Returns a factor per rank, 0 for those left out this time; None where none is."""

    def masked_delta(self, mask: Tensor) -> Tensor:
        """Returns the difference of the ranks that `sample_rank_mask` kept."""
        raise NotImplementedError

    def prepare_input(self, x: Tensor) -> Tensor:
        """Returns the input with dropout, in the number format of the adapter."""
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        if torch.is_autocast_enabled(x.device.type):
            return x
        return x.to(next(self.parameters()).dtype)

    def _apply_delta(self, x: Tensor, mask: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.delta() if mask is None else self.masked_delta(mask)
        return apply_weight(x, weight, self.conv)


def shape_of(layer: Layer) -> tuple[int, ...]:
    """Returns the shape of a layer's weight, which a 4-bit layer does not store as such."""
    if isinstance(layer, nn.Linear):
        return (layer.out_features, layer.in_features)
    return tuple(layer.weight.shape)


def geometry_of(layer: Layer) -> dict[str, Any] | None:
    """Returns how a convolution moves over its input; None for a linear layer."""
    if isinstance(layer, nn.Linear):
        return None
    return {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }


def apply_weight(x: Tensor, weight: Tensor, conv: dict[str, Any] | None) -> Tensor:
    """Returns what a weight makes of an input, without a bias."""
    if conv is None:
        return functional.linear(x, weight)
    return functional.conv2d(x, weight, **conv)


def read_weight(layer: Layer) -> Tensor:
    """Returns a frozen layer's weight, unpacked where the layer holds it in 4 or 8 bits."""
    if not is_packed(layer):
        return layer.weight.detach()
    read: Any = getattr(layer, "unpack", None)
    if read is not None:
        weight: Tensor = read()
        return weight
    from bitsandbytes.functional import dequantize_4bit

    packed: Any = layer.weight
    unpacked: Tensor = dequantize_4bit(packed.data, packed.quant_state)
    return unpacked


def is_packed(layer: Layer) -> bool:
    """Returns whether a layer holds its weight in 4 or 8 bits."""
    return hasattr(layer, "unpack") or getattr(layer.weight, "quant_state", None) is not None


def init_kaiming(parameter: nn.Parameter, generator: torch.Generator) -> None:
    """Initialises a factor uniformly in ±1 / sqrt(inputs), as `nn.Linear` does."""
    bound = 1.0 / math.sqrt(parameter[0].numel())
    with torch.no_grad():
        sample = torch.rand(parameter.shape, generator=generator) * (2 * bound) - bound
        parameter.copy_(sample)


def fill(adapter: Adapter, values: Mapping[str, Tensor]) -> None:
    """Copies a file's tensors into an adapter's parameters.

    Axes of length one may be missing or too many: some programs write a 1 x 1 convolution as a
    linear layer.

    Raises:
        ValueError: a shape differs; the message names both.
    """
    parameters = dict(adapter.named_parameters(recurse=False))
    for name, value in values.items():
        if _squeeze(value) != _squeeze(parameters[name]):
            msg = (
                f"its {name} has the shape {tuple(value.shape)}, where the layer needs "
                f"{tuple(parameters[name].shape)}"
            )
            raise ValueError(msg)
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value.reshape(parameters[name].shape))


def _squeeze(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
