"""Tensors with a shape and no content: real code runs on them, and their memory is counted.

A ghost says that it lies on the CPU, so that PyTorch chooses kernels, casts and gradients as for a
real tensor, but every operation only works out the shape of its result. What would have been
allocated, and when it would have been freed, is booked by the `Meter`.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_META = torch.device("meta")
# Lists longer than this (all weights of an optimiser) come once: remembering them costs more.
_LONGEST_KEY = 16
_TABLES = {torch.ops.aten.linspace.default, torch.ops.aten.arange.default}
# What a ghost says when it is asked for its number.
_NUMBERS: dict[torch.dtype, Any] = {torch.bool: True, torch.int64: 1, torch.int32: 1}


class Ghost(Tensor):
    """A tensor of which only shape, type and storage exist.

    Attributes:
        outline: Its counterpart on PyTorch's meta device; ghosts that are views share its storage.
    """

    outline: Tensor

    @staticmethod
    def __new__(cls: type["Ghost"], outline: Tensor) -> "Ghost":
        """Returns a ghost of a meta tensor."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            outline.size(),
            strides=outline.stride(),
            storage_offset=outline.storage_offset(),
            dtype=outline.dtype,
            device=torch.device("cpu"),
        )

    def __init__(self, outline: Tensor) -> None:
        self.outline = outline

    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuses: outside of its meter a ghost cannot take part in anything."""
        del types, args, kwargs
        msg = f"{func} was called on a tensor without content"
        raise RuntimeError(msg)

    def __repr__(self, **_options: Any) -> str:  # type: ignore[override]
        return f"Ghost({tuple(self.shape)}, {self.dtype})"


class Meter(TorchDispatchMode):
    """Runs every operation on ghosts and books their storages.

    Args:
        block_bytes: The allocator hands out multiples of this.

    Attributes:
        now: Bytes that live at the moment.
        peak: The most that lived at once since the last `restart`.
    """

    def __init__(self, block_bytes: int = 1) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._block_bytes = block_bytes
        self._living: dict[int, Any] = {}  # weak references to storages
        self._known: dict[Any, Any] = {}

    def restart(self) -> None:
        """Counts the peak anew from what lives now."""
        self.peak = self.now

    def book(self, size: int) -> None:
        """Adds bytes; less than 0 takes them away."""
        self.now += size
        self.peak = max(self.peak, self.now)

    def measure(self, model: nn.Module) -> int:
        """Returns the bytes of a model's weights and buffers."""
        sizes = {}
        for tensor in (*model.parameters(), *model.buffers()):
            outline = tensor.outline if isinstance(tensor, Ghost) else tensor
            storage = outline.untyped_storage()
            sizes[storage._cdata] = self._round(storage.nbytes())
        return sum(sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Works out the shapes of an operation's results, and books them."""
        del types
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], Ghost):
            # Some optimisers look at numbers. Memory does not depend on them: any will do.
            return _NUMBERS.get(args[0].dtype, 1.0)
        ghosts: dict[int, Ghost] = {}
        solid = func in _TABLES

        def lower(tensor: Tensor) -> Tensor:
            nonlocal solid
            if isinstance(tensor, Ghost):
                ghosts[id(tensor.outline)] = tensor
                return tensor.outline
            if tensor.device.type == "meta":
                return tensor
            solid = True
            return torch.empty_strided(
                tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META
            )

        def lift(tensor: Tensor) -> Tensor:
            known = ghosts.get(id(tensor))
            if known is not None:  # an operation in place gives back what it was given
                return known
            self._note(tensor)
            return Ghost(tensor)

        lowered_args = _swap(args, lower)
        lowered_kwargs = {name: _swap(value, lower) for name, value in (kwargs or {}).items()}
        if solid and not ghosts:
            # Numbers that come from no ghost stay numbers: token ids, a library's small tables.
            return func(*args, **(kwargs or {}))
        if lowered_kwargs.get("device") is not None or (not ghosts and _takes_device(func)):
            lowered_kwargs["device"] = _META
        return _swap(self._infer(func, lowered_args, lowered_kwargs), lift)

    def _infer(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Calls an operation on the meta device, or remembers what it gave for equal shapes."""
        key = _describe_call(func, args, kwargs) if _makes_new_tensors(func) else None
        if key is None:
            return func(*args, **kwargs)
        found = self._known.get(key)
        if found is None:
            result = func(*args, **kwargs)
            self._known[key] = _swap(result, lambda t: _Shape(t.size(), t.stride(), t.dtype))
            return result
        return _make(found)

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._living:
            return
        size = self._round(storage.nbytes())

        def forget(_reference: Any) -> None:
            del self._living[key]
            self.now -= size

        self._living[key] = weakref.ref(storage, forget)
        self.book(size)

    def _round(self, size: int) -> int:
        return -(-size // self._block_bytes) * self._block_bytes


class _Shape:
    """What is remembered of a result."""

    __slots__ = ("dtype", "size", "stride")

    def __init__(self, size: Any, stride: Any, dtype: torch.dtype) -> None:
        self.size, self.stride, self.dtype = size, stride, dtype


def _make(found: Any) -> Any:
    if isinstance(found, _Shape):
        return torch.empty_strided(found.size, found.stride, dtype=found.dtype, device=_META)
    if isinstance(found, list | tuple):
        return type(found)(_make(each) for each in found)
    return found


def _swap(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Returns a value with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_swap(each, change) for each in value)
    return value


def _describe_call(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    try:
        return (func, _describe(args), tuple((k, _describe(v)) for k, v in kwargs.items()))
    except OverflowError:
        return None


def _describe(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.size(), value.stride(), value.dtype)
    if isinstance(value, list | tuple):
        if len(value) > _LONGEST_KEY:
            raise OverflowError
        return tuple(map(_describe, value))
    # 1, 1.0 and True are equal as keys and differ in what they promote to.
    return (type(value), value)


_NEW: dict[Any, bool] = {}
_DEVICE: dict[Any, bool] = {}


def _makes_new_tensors(func: Any) -> bool:
    """Whether an operation gives tensors, neither changing its arguments nor giving views."""
    if func not in _NEW:
        schema = func._schema
        every = (*schema.arguments, *schema.returns)
        fresh = all(each.alias_info is None for each in every)
        _NEW[func] = fresh and any("Tensor" in str(each.type) for each in schema.returns)
    return _NEW[func]


def _takes_device(func: Any) -> bool:
    if func not in _DEVICE:
        _DEVICE[func] = any(each.name == "device" for each in func._schema.arguments)
    return _DEVICE[func]
