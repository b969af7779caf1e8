"""The device context of a simulated run: accelerate without computation."""

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainer.device import DeviceContext
from trainer.device_kinds import DEVICE_KINDS
from trainer.dtypes import DTYPES

if TYPE_CHECKING:
    from accelerate import Accelerator

DeviceKind = Literal["cpu", "cuda", "mps"]

# Functions that autocast runs in fp32 on CUDA and not on a CPU (ATen/autocast_mode.h,
# AT_FORALL_FP32 and AT_FORALL_FP32_SET_OPT_DTYPE), as far as models and adapters use them.
CUDA_FP32 = frozenset(
    {
        "group_norm", "layer_norm", "rms_norm", "softmax", "log_softmax", "interpolate", "softplus",
        "exp", "log", "log2", "log1p", "pow", "__pow__", "rsqrt", "reciprocal", "sum", "prod",
        "cumsum", "cumprod", "norm", "linalg_vector_norm", "cosine_similarity",
        "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Device:
    """The simulated device.

    Attributes:
        kind: Kind of device.
        precision: "fp32", "bf16" or "fp16".
    """

    kind: DeviceKind
    precision: str

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is the main memory, so that offloading frees nothing."""
        return DEVICE_KINDS[self.kind].shares_memory

    @property
    def block_bytes(self) -> int:
        """The allocator's smallest block."""
        return 1 if self.kind == "cpu" else 512

    @property
    def place(self) -> torch.device:
        """Where fake tensors claim to be.

        To PyTorch both are the CPU; the index distinguishes a separate device from main memory.
        """
        return torch.device("cpu") if self.shares_memory else torch.device("cpu", 0)


def open_fake_context(device: Device) -> DeviceContext:
    """Returns a device context for fake tensors."""
    accelerator = cast("Accelerator", _FakeAccelerator(device.precision))
    return DeviceContext(accelerator, device.place, device.precision)


def emulate_autocast(device: Device) -> AbstractContextManager[Any]:
    """While the block runs, autocast on the CPU casts what it would cast on the device."""
    if device.kind == "cuda" and device.precision != "fp32":
        return _CudaCasts()
    return contextlib.nullcontext()


class _FakeAccelerator:
    """The part of accelerate that a training step uses."""

    scaler = None

    def __init__(self, precision: str) -> None:
        self._dtype = None if precision == "fp32" else DTYPES[precision]

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        with torch.autocast("cpu", self._dtype, enabled=self._dtype is not None):
            yield

    def backward(self, loss: Tensor) -> None:
        # What `loss.backward()` calls. That itself is a function to the mode below, which is
        # inactive while one runs and would miss what gradient checkpointing recomputes.
        torch.autograd.Variable._execution_engine.run_backward(
            (loss,),
            (torch.ones_like(loss),),
            False,  # keep_graph
            False,  # create_graph
            (),
            allow_unreachable=True,
            accumulate_grad=True,
        )

    def clip_grad_norm_(self, parameters: Iterable[nn.Parameter], norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, norm)

    def prepare(self, optimizer: Any) -> Any:
        return optimizer


class _CudaCasts(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in CUDA_FP32 and torch.is_autocast_enabled("cpu"):
            args = tuple(map(_to_fp32, args))
            kwargs = {key: _to_fp32(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)


def _to_fp32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.is_floating_point() and value.itemsize == 2
    return value.float() if half else value
