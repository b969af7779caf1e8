"""Fake tensors, with a shape and no content: real code runs on them, and memory is counted.

A fake tensor claims to be on the CPU, so that PyTorch chooses kernels, casts and gradients as for a
real tensor, but every operation only infers the shape of its result. What would have been
allocated, and when it would have been freed, is counted by the `Meter`.
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
# Shapes of results by operation and arguments, for all estimates of a process: a plan of a run's
# memory makes several that differ in little.
_SHAPES: dict[Any, Any] = {}
_MOST_SHAPES = 100_000
# The value of a fake scalar.
_NUMBERS: dict[torch.dtype, Any] = {torch.bool: True, torch.int64: 1, torch.int32: 1}


class FakeTensor(Tensor):
    """A tensor of which only shape, type and storage exist.

    Attributes:
        meta: Its counterpart on PyTorch's meta device; views share its storage.
    """

    meta: Tensor

    @staticmethod
    def __new__(cls: type["FakeTensor"], meta: Tensor) -> "FakeTensor":
        """Returns a fake tensor for a meta tensor."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            meta.size(),
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=torch.device("cpu"),
        )

    def __init__(self, meta: Tensor) -> None:
        self.meta = meta

    __torch_function__: Any = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuses: outside of its meter a fake tensor cannot take part in any operation."""
        del types, args, kwargs
        msg = f"{func} was called on a tensor without content"
        raise RuntimeError(msg)

    def untyped_storage(self) -> torch.UntypedStorage:
        """Returns the storage of the counterpart, which views share."""
        return self.meta.untyped_storage()

    def __repr__(self, **_options: Any) -> str:  # type: ignore[override]
        return f"FakeTensor({tuple(self.shape)}, {self.dtype})"


class Meter(TorchDispatchMode):
    """Runs every operation on fake tensors and counts their storages.

    Args:
        block_bytes: The allocator returns multiples of this.

    Attributes:
        now: Bytes allocated at the moment.
        peak: The most that was allocated at once since the last `restart`.
    """

    def __init__(self, block_bytes: int = 1) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._block_bytes = block_bytes
        self._allocated: dict[int, Any] = {}  # weak references to storages

    def restart(self) -> None:
        """Resets the peak to what is allocated now."""
        self.peak = self.now

    def add(self, size: int) -> None:
        """Adds bytes; a negative number subtracts."""
        self.now += size
        self.peak = max(self.peak, self.now)

    def measure(self, model: nn.Module) -> int:
        """Returns the bytes of a model's weights and buffers."""
        sizes = {}
        for tensor in (*model.parameters(), *model.buffers()):
            meta = tensor.meta if isinstance(tensor, FakeTensor) else tensor
            storage = meta.untyped_storage()
            sizes[storage._cdata] = self.round(storage.nbytes())
        return sum(sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Infers the shapes of an operation's results, and counts them."""
        del types
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            # Some optimisers read values. Memory does not depend on them: any value will do.
            return _NUMBERS.get(args[0].dtype, 1.0)
        fakes: dict[int, FakeTensor] = {}
        has_real = func in _TABLES

        def lower(tensor: Tensor) -> Tensor:
            nonlocal has_real
            if isinstance(tensor, FakeTensor):
                fakes[id(tensor.meta)] = tensor
                return tensor.meta
            if tensor.device.type == "meta":
                return tensor
            has_real = True
            return torch.empty_strided(
                tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META
            )

        def lift(tensor: Tensor) -> Tensor:
            known = fakes.get(id(tensor))
            if known is not None:  # an in-place operation returns its argument
                return known
            self._note(tensor)
            return FakeTensor(tensor)

        lowered_args = _swap(args, lower)
        lowered_kwargs = {name: _swap(value, lower) for name, value in (kwargs or {}).items()}
        if has_real and not fakes:
            # Results that depend on no fake tensor stay real: token ids, a library's small tables.
            return func(*args, **(kwargs or {}))
        if lowered_kwargs.get("device") is not None or (not fakes and _takes_device(func)):
            lowered_kwargs["device"] = _META
        return _swap(self._infer(func, lowered_args, lowered_kwargs), lift)

    def _infer(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Calls an operation on the meta device, or reuses the cached shapes."""
        returns = _find_returns(func)
        key = _describe_call(func, args, kwargs) if returns else None
        if key is None:
            return func(*args, **kwargs)
        if key in _SHAPES:
            return args[0] if returns == "argument" else _make(_SHAPES[key])
        result = func(*args, **kwargs)
        if len(_SHAPES) >= _MOST_SHAPES:
            _SHAPES.clear()
        _SHAPES[key] = _swap(result, lambda t: _Shape(t.size(), t.stride(), t.dtype))
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._allocated:
            return
        size = self.round(storage.nbytes())

        def forget(_reference: Any) -> None:
            del self._allocated[key]
            self.now -= size

        self._allocated[key] = weakref.ref(storage, forget)
        self.add(size)

    def round(self, size: int) -> int:
        """Returns what the allocator takes for a number of bytes."""
        return -(-size // self._block_bytes) * self._block_bytes


class _Shape:
    """The cached shape of a result."""

    __slots__ = ("dtype", "size", "stride")

    def __init__(self, size: Any, stride: Any, dtype: torch.dtype) -> None:
        self.size, self.stride, self.dtype = size, stride, dtype


def _make(cached: Any) -> Any:
    if isinstance(cached, _Shape):
        return torch.empty_strided(cached.size, cached.stride, dtype=cached.dtype, device=_META)
    if isinstance(cached, list | tuple):
        return type(cached)(_make(each) for each in cached)
    return cached


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
    if isinstance(value, torch.Generator):
        return torch.Generator  # which one decides no shape, and a key would keep it alive
    # 1, 1.0 and True are equal as keys and differ in what they promote to.
    return (type(value), value)


_RETURNS: dict[Any, str] = {}
_DEVICE: dict[Any, bool] = {}


def _find_returns(func: Any) -> str:
    """Returns what an operation returns: "new" tensors, its first "argument", or "" (views …)."""
    if func not in _RETURNS:
        schema = func._schema
        every = (*schema.arguments, *schema.returns)
        kind = ""
        if all(each.alias_info is None for each in every):
            kind = "new" if any("Tensor" in str(each.type) for each in schema.returns) else ""
        elif _changes_first_alone(schema) and torch.Tag.inplace_view not in func.tags:
            kind = "argument"
        _RETURNS[func] = kind
    return _RETURNS[func]


def _changes_first_alone(schema: Any) -> bool:
    """Whether an operation writes into its first argument, returns that, and does no more."""
    if len(schema.returns) != 1 or not schema.arguments:
        return False
    first, *others = (each.alias_info for each in schema.arguments)
    returned = schema.returns[0].alias_info
    return bool(
        first is not None
        and first.is_write
        and returned is not None
        and returned.before_set == first.before_set
        and str(schema.returns[0].type) == "Tensor"
        and not any(others)
    )


def _takes_device(func: Any) -> bool:
    if func not in _DEVICE:
        _DEVICE[func] = any(each.name == "device" for each in func._schema.arguments)
    return _DEVICE[func]
