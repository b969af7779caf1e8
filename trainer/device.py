"""The device and number format of a run, through accelerate."""

import gc
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from trainer.device_kinds import DEVICE_KINDS, find_kind
from trainer.dtypes import DTYPES
from trainer.runs import RunError


@dataclass(frozen=True)
class DeviceContext:
    """The device and the precision of a run.

    Attributes:
        accelerator: Scales fp16 losses, clips gradients and opens autocast.
        device: Of the base model and the adapters.
        precision: "fp32", "bf16" or "fp16".
    """

    accelerator: Accelerator
    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the frozen weights."""
        return DTYPES[self.precision]

    def memory_bytes(self) -> int:
        """Returns the peak memory of the device so far; 0 where unknown."""
        return DEVICE_KINDS[self.device.type].peak_bytes(self.device)


def open_device_context(
    device: str = "auto", precision: str = "auto", process: int = 0
) -> DeviceContext:
    """Returns the device context of a run or a preview.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto" or a number format; auto takes the fastest that the device supports.
        process: Which of a run's processes this is: each takes a CUDA device of its own, from the
            named one on.

    Raises:
        RunError: the device does not exist or does not support the format.
    """
    chosen = _choose_device(device, process)
    row = DEVICE_KINDS[chosen.type]
    number_format = row.auto_precision() if precision == "auto" else precision
    if problem := row.explain_precision(number_format):
        raise RunError(problem)
    # accelerate keeps its state per process; a second run in this process starts afresh.
    AcceleratorState._reset_state(reset_partial_state=True)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    accelerator = Accelerator(
        mixed_precision="no" if number_format == "fp32" else number_format, cpu=chosen.type == "cpu"
    )
    return DeviceContext(accelerator, chosen, number_format)


def _choose_device(name: str, process: int) -> torch.device:
    device = torch.device(find_kind(name) if name == "auto" else name)
    if device.type == "cuda":
        count, index = torch.cuda.device_count(), (device.index or 0) + process
        if index >= count:
            msg = (
                f"train.device is {name}, but PyTorch sees {count} CUDA devices. Choose another, "
                "or install a CUDA build of PyTorch."
            )
            raise RunError(msg)
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        msg = "train.device is mps, but this computer has no MPS device. Set it to auto."
        raise RunError(msg)
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device has no memory left."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # MPS and the CPU raise plain errors.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)


def free_memory(device: torch.device) -> None:
    """Gives what is no longer used back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
