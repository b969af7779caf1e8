"""The kinds of devices, a row for each: number formats, memory, and settings that they do not have.

The order is that in which `train.device = auto` looks for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from trainer.config import ConfigError, Problem, RunConfig


@dataclass(frozen=True)
class Unsupported:
    """A value of a setting that a kind of device does not have.

    Attributes:
        path: The setting.
        value: The value.
        advice: Why, and what to set instead.
    """

    path: str
    value: str
    advice: str


@dataclass(frozen=True)
class DeviceRow:
    """A kind of device.

    Attributes:
        is_available: Whether PyTorch has such a device here.
        auto_precision: The number format that `base_model.precision = auto` takes.
        explain_precision: Why it does not compute in a number format, with the remedy; "" if so.
        total_bytes: All the memory that it may take.
        free_bytes: What of it is free, for the name of a device.
        peak_bytes: The most that this process has taken; 0 where unknown.
        shares_memory: Whether its memory is the main memory, so that offloading frees nothing.
        unsupported: Settings that it does not have.
    """

    is_available: Callable[[], bool]
    auto_precision: Callable[[], str]
    explain_precision: Callable[[str], str]
    total_bytes: Callable[[], int]
    free_bytes: Callable[[str], int]
    peak_bytes: Callable[[torch.device], int]
    shares_memory: bool
    unsupported: tuple[Unsupported, ...] = ()


def find_kind(name: str) -> str:
    """Returns the kind of a device's name; "auto" is the first kind that is here."""
    if name == "auto":
        return next(kind for kind, row in DEVICE_KINDS.items() if row.is_available())
    return name.partition(":")[0]


def list_device_names() -> list[str]:
    """Returns the devices of this computer; the first ones are those that "auto" takes."""
    names = []
    for kind, row in DEVICE_KINDS.items():
        if row.is_available():
            count = torch.cuda.device_count() if kind == "cuda" else 0
            names += [f"{kind}:{each}" for each in range(count)] if count else [kind]
    return names


def name_devices(device: str, processes: int = 1) -> list[str]:
    """Returns the names of the devices that a run takes, one for each of its processes on CUDA."""
    kind = find_kind(device)
    if kind != "cuda":
        return [kind]
    first = int(device.partition(":")[2] or 0)
    return [f"cuda:{first + each}" for each in range(max(processes, 1))]


def check_device_settings(config: RunConfig, kind: str = "") -> None:
    """Rejects settings that the device of a run does not have, before anything is loaded.

    Args:
        config: The run's settings.
        kind: A key of `DEVICE_KINDS`; "" takes the config's.

    Raises:
        ConfigError: with what to set instead.
    """
    row = DEVICE_KINDS[kind or find_kind(config.train.device)]
    problems = [
        Problem(each.path, each.advice)
        for each in row.unsupported
        if _read_setting(config, each.path) == each.value
    ]
    if problems:
        raise ConfigError(problems)


def _read_setting(config: RunConfig, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _choose_on_cuda() -> str:
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _explain_on_cuda(precision: str) -> str:
    if precision != "bf16" or torch.cuda.is_bf16_supported():
        return ""
    name = torch.cuda.get_device_name()
    return f"{name} does not support bf16. Set base_model.precision to fp16."


def _explain_on_mps(precision: str) -> str:
    if precision != "bf16" or torch.backends.mps.is_macos_or_newer(14, 0):
        return ""
    return (
        "A Mac's GPU computes in bf16 from macOS 14 on. Update macOS, or set base_model.precision "
        "to fp32."
    )


def _explain_on_cpu(precision: str) -> str:
    if precision != "fp16":
        return ""
    return "A CPU cannot train in fp16. Set base_model.precision to fp32 or bf16."


def _free_on_cuda(name: str) -> int:
    free, _ = torch.cuda.mem_get_info(name if name.startswith("cuda") else "cuda")
    return int(free)


def _free_on_mps(_name: str) -> int:
    """Returns what the GPU may still take of the main memory, and what others have left of it."""
    allowed = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return max(0, min(allowed, int(psutil.virtual_memory().available)))


DEVICE_KINDS: dict[str, DeviceRow] = {
    "cuda": DeviceRow(
        is_available=lambda: torch.cuda.is_available(),
        auto_precision=_choose_on_cuda,
        explain_precision=_explain_on_cuda,
        total_bytes=lambda: int(torch.cuda.get_device_properties(0).total_memory),
        free_bytes=_free_on_cuda,
        peak_bytes=lambda device: int(torch.cuda.max_memory_allocated(device)),
        shares_memory=False,
    ),
    # Not tried on a Mac. fp32 is what every operation has there; bf16 halves the memory.
    "mps": DeviceRow(
        is_available=lambda: torch.backends.mps.is_available(),
        auto_precision=lambda: "fp32",
        explain_precision=_explain_on_mps,
        total_bytes=lambda: int(torch.mps.recommended_max_memory()),
        free_bytes=_free_on_mps,
        peak_bytes=lambda _device: int(torch.mps.driver_allocated_memory()),
        shares_memory=True,
        unsupported=(
            Unsupported(
                "base_model.quantize",
                "nf4",
                "nf4 needs bitsandbytes, which a Mac's GPU does not have: set it to int8",
            ),
            Unsupported(
                "base_model.quantize",
                "fp8",
                "fp8 is a number format that a Mac's GPU does not have: set it to int8",
            ),
            Unsupported(
                "base_model.attention",
                "xformers",
                "xformers needs a CUDA GPU: set it to sdpa",
            ),
            Unsupported(
                "optimizer.kind",
                "adamw8bit",
                "adamw8bit needs bitsandbytes, which a Mac's GPU does not have: choose adamw, or "
                "adafactor to save memory",
            ),
        ),
    ),
    "cpu": DeviceRow(
        is_available=lambda: True,
        auto_precision=lambda: "fp32",
        explain_precision=_explain_on_cpu,
        total_bytes=lambda: int(psutil.virtual_memory().total),
        free_bytes=lambda _name: int(psutil.virtual_memory().available),
        peak_bytes=lambda _device: 0,
        shares_memory=True,
    ),
}
