"""Blocks of a UNet whose weights wait in main memory and come to the device while they are used.

Other programs call it block swap (kohya), layer offload (OneTrainer) or group offloading
(diffusers). A block's weights are copied to the device before each forward pass, and the copy is
let go after it. Such a block should be checkpointed: autograd then keeps none of its weights, and
the backward pass calls the block once more, which brings them back for as long as its gradients
need them.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_ALIGNMENT = 256  # bytes, that of CUDA's own allocations


@dataclass
class _Weight:
    """A weight or buffer of a block.

    Attributes:
        owner: The module's dict of weights, or of buffers.
        name: Its key there.
        stored: In main memory, part of the block's one storage.
        offset: Where in it, in bytes.
    """

    owner: dict[str, Any]
    name: str
    stored: Tensor
    offset: int


class OffloadedBlock:
    """A block whose weights wait in main memory.

    They lie in one storage, so that they come in one copy. The copy is ordered with the block's
    kernels on the device's current stream, and the weights never change, so nothing has to wait.

    Args:
        block: Its weights are moved into a new storage; the block is never moved as a whole again.
        device: Where it works.
    """

    def __init__(self, block: nn.Module, device: torch.device) -> None:
        self._block, self._device = block, device
        self._weights: list[_Weight] = []
        # `Module.to` goes down to the modules by this method: here it has nothing to move.
        block._apply = lambda *_args, **_options: block  # type: ignore[method-assign]
        block.forward = self._wrap(block.forward)
        self.pack()

    @property
    def size(self) -> int:
        """Bytes of main memory, and of the device while the block works."""
        return self._storage.nbytes

    def pack(self) -> None:
        """Moves the block's weights into one storage in main memory."""
        self._weights, end = [], 0
        for module in self._block.modules():
            for owner in (module._parameters, module._buffers):
                for name, tensor in owner.items():
                    if tensor is not None:
                        self._weights.append(_Weight(owner, name, tensor.detach(), end))
                        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
        like = self._weights[0].stored
        place = like.device if like.is_meta else torch.device("cpu")
        self._storage = torch.empty(end, dtype=torch.uint8, device=place)
        if self._device.type == "cuda":
            _pin(self._storage)
        for weight in self._weights:
            stored = self._view(self._storage, weight)
            stored.copy_(weight.stored)
            if isinstance(weight.owner[weight.name], nn.Parameter):
                stored = nn.Parameter(stored, requires_grad=False)
            weight.owner[weight.name] = weight.stored = stored

    def _wrap(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a forward pass that has the weights on the device."""

        @functools.wraps(forward)
        def run(*inputs: Any, **options: Any) -> Any:
            try:
                self._fetch()
                return forward(*inputs, **options)
            finally:  # also at the error by which checkpointing ends a recomputation early
                self._release()

        return run

    def _fetch(self) -> None:
        copy = torch.empty_like(self._storage, device=self._device)
        copy.copy_(self._storage, non_blocking=True)
        for weight in self._weights:
            # Another tensor, not other data in the same one: what autograd has saved must stay.
            weight.owner[weight.name] = self._view(copy, weight)

    def _release(self) -> None:
        for weight in self._weights:
            weight.owner[weight.name] = weight.stored

    def _view(self, storage: Tensor, weight: _Weight) -> Tensor:
        like = weight.stored
        start = weight.offset // like.itemsize
        return storage.view(like.dtype).as_strided(like.shape, like.stride(), start)


def _pin(storage: Tensor) -> None:
    """Lets the device copy from a storage by itself; where that is refused, it stays pageable.

    PyTorch's own pinned memory would take up to twice as much: it rounds up to powers of two.
    """
    with contextlib.suppress(RuntimeError, AssertionError):
        driver: Any = torch.cuda.cudart()
        address = storage.data_ptr()
        if int(driver.cudaHostRegister(address, storage.nbytes, 0)) == 0:
            unpin = weakref.finalize(storage, driver.cudaHostUnregister, address)
            unpin.atexit = False  # by then the driver may be gone, and the memory goes anyway
