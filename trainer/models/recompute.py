"""Activations that the backward pass computes again instead of keeping them.

Autograd keeps the inputs that gradients need. The outputs of norms, SiLU and gates are among them,
and cost little to compute from what is kept anyway. They are left out by hooks on what autograd
saves (`torch.autograd.graph.saved_tensors_hooks`) and come out the same to the last bit. Gradient
checkpointing does so for whole blocks, with their matrix products; the partial way is "selective
activation recomputation" (Korthikanti et al. 2022, arXiv:2205.05198, section 5).
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.models.layers import replace_layers


def enable_recomputation(unet: Any, *, feed_forward: bool) -> None:
    """Has a UNet's backward pass compute cheap activations again.

    Args:
        unet: A UNet of diffusers; its names and weights stay as they are.
        feed_forward: Also the inner product of feed-forward layers, which is the largest tensor
            of a transformer block and a tenth of the arithmetic. Adapters in there must not have
            dropout, whose second mask would be another one.
    """
    from diffusers.models.activations import GEGLU

    recorder = Recorder()
    makers: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
        nn.LayerNorm: lambda layer: _LayerNorm(layer, recorder),
        nn.GroupNorm: lambda layer: _GroupNorm(layer, recorder),
        nn.SiLU: lambda _: _SiLU(recorder),
        GEGLU: lambda layer: _GEGLU(layer, recorder, again=feed_forward),
    }
    replace_layers([unet], makers)
    forward = unet.forward

    @functools.wraps(forward)
    def record(*args: Any, **kwargs: Any) -> Any:
        with recorder:
            return forward(*args, **kwargs)

    unet.forward = record


class Recorder:
    """Replaces what autograd saves by how to compute it, for the outputs of `call`.

    It is in use as a context manager around a forward pass.
    """

    def __init__(self) -> None:
        self._recipes: dict[int, _Recipe] = {}  # by the output's storage, while it exists
        self._deaths: dict[int, Any] = {}
        self._hooks: Any = None

    def __enter__(self) -> "Recorder":
        if torch.is_grad_enabled():
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, _unpack)
            self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.__exit__(*error)

    def call(self, compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Returns what a function makes of its inputs; autograd keeps the way to it only.

        Args:
            compute: The same result for the same inputs, in an own storage.
            inputs: Tensors that nobody changes in place.
        """
        output = compute(*inputs)
        if self._hooks is not None and output.requires_grad:
            key, storage = _name_storage(output)
            self._recipes[key] = _Recipe(output, compute, inputs)
            self._deaths[key] = weakref.ref(storage, functools.partial(self._forget, key))
        return output

    def pack(self, tensor: Tensor) -> Any:
        """Returns what is kept of a tensor that autograd saves."""
        recipe = self._recipes.get(_name_storage(tensor)[0])
        if recipe is None or recipe.version != tensor._version:
            return tensor
        recipe.use(self.pack)
        return _View(recipe, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def _forget(self, key: int, _reference: Any) -> None:
        del self._recipes[key], self._deaths[key]


class _Recipe:
    """How an output is computed again: from its inputs, or from their own recipes."""

    def __init__(self, output: Tensor, compute: Callable[..., Tensor], inputs: Any) -> None:
        kind = output.device.type
        self.version = output._version
        self._compute, self._inputs = compute, inputs
        self._versions = [each._version for each in inputs]
        self._autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        self._uses = 0
        self._sources: list[Any] | None = None
        self._value: Tensor | None = None

    def use(self, pack: Callable[[Tensor], Any]) -> None:
        """Counts one more place that will ask for the output."""
        if self._sources is None:
            self._sources = [pack(each) for each in self._inputs]
            self._inputs = ()
        self._uses += 1

    def restore(self) -> Tensor:
        """Returns the output; it stays until the last place has asked for it.

        Raises:
            RuntimeError: an input was changed in place since the forward pass.
        """
        value = self._value
        if value is None:
            kind, dtype, enabled = self._autocast
            with torch.no_grad(), torch.autocast(kind, dtype, enabled=enabled):
                value = self._compute(*self._restore_inputs())
        self._uses -= 1
        self._value = value if self._uses > 0 else None
        return value

    def _restore_inputs(self) -> list[Tensor]:
        for source, version in zip(self._sources or (), self._versions, strict=True):
            if isinstance(source, Tensor) and source._version != version:
                msg = "a tensor that the backward pass computes from was changed in place"
                raise RuntimeError(msg)
        return [_unpack(source) for source in self._sources or ()]


class _View(NamedTuple):
    """What autograd keeps instead of a tensor: a recipe, and where the tensor is in its output."""

    recipe: _Recipe
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _unpack(kept: Any) -> Tensor:
    if isinstance(kept, Tensor):
        return kept
    return kept.recipe.restore().as_strided(kept.size, kept.stride, kept.offset)


def _name_storage(tensor: Tensor) -> tuple[int, Any]:
    storage = tensor.untyped_storage()
    return storage._cdata, storage


class _LayerNorm(nn.LayerNorm):
    """A layer norm in the number format of its input, also under autocast.

    PyTorch's kernels add up in fp32 for every format; autocast would make a copy in fp32 besides.
    """

    def __init__(self, layer: nn.LayerNorm, recorder: Recorder) -> None:
        super().__init__(layer.normalized_shape, layer.eps, elementwise_affine=False)
        self.weight, self.bias, self._recorder = layer.weight, layer.bias, recorder

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalised input."""
        return self._recorder.call(self._normalize, x)

    def _normalize(self, x: Tensor) -> Tensor:
        weight, bias = _cast(self.weight, x), _cast(self.bias, x)
        with torch.autocast(x.device.type, enabled=False):
            return functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class _GroupNorm(nn.GroupNorm):
    """A group norm in the number format of its input, also under autocast; see `_LayerNorm`."""

    def __init__(self, layer: nn.GroupNorm, recorder: Recorder) -> None:
        super().__init__(layer.num_groups, layer.num_channels, layer.eps, affine=False)
        self.weight, self.bias, self._recorder = layer.weight, layer.bias, recorder

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalised input."""
        return self._recorder.call(self._normalize, x)

    def _normalize(self, x: Tensor) -> Tensor:
        weight, bias = _cast(self.weight, x), _cast(self.bias, x)
        with torch.autocast(x.device.type, enabled=False):
            return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


class _SiLU(nn.SiLU):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def forward(self, x: Tensor) -> Tensor:
        """Returns x · sigmoid(x)."""
        return self._recorder.call(functional.silu, x)


class _GEGLU(nn.Module):
    """A gated linear unit with GELU (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, layer: Any, recorder: Recorder, *, again: bool) -> None:
        super().__init__()
        self.proj, self._recorder, self._again = layer.proj, recorder, again

    def forward(self, x: Tensor) -> Tensor:
        """Returns hidden · GELU(gate), the two halves of the projected input."""
        projected = self._recorder.call(self.proj, x) if self._again else self.proj(x)
        hidden, gate = projected.chunk(2, dim=-1)
        return self._recorder.call(torch.mul, hidden, self._recorder.call(functional.gelu, gate))


def _cast(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)
