"""Prints as JSON on which device PyTorch would train; a process of its own (`probes`)."""

import json
import sys
from dataclasses import asdict
from typing import Any

from trainer.doctor.facts import Device


def read_device(torch: Any) -> Device:
    """Returns the device, after a multiplication on it; with the reason where that fails.

    Args:
        torch: The module.
    """
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        bf16 = bool(torch.cuda.is_bf16_supported())
        error = _multiply(torch, "cuda")
        return Device("cuda", properties.name, int(properties.total_memory), bf16, error)
    if torch.backends.mps.is_available():
        size = int(torch.mps.recommended_max_memory())
        bf16 = bool(torch.backends.mps.is_macos_or_newer(14, 0))
        return Device("mps", "Apple GPU", size, bf16, _multiply(torch, "mps"))
    error = ""
    if torch.version.cuda or torch.version.hip:
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as problem:
            error = str(problem)
    return Device("cpu", bf16=True, error=error)


def _multiply(torch: Any, kind: str) -> str:
    """Computes something, which fails where PyTorch has no kernels for this card."""
    try:
        (torch.ones(8, 8, device=kind) @ torch.ones(8, 8, device=kind)).sum().item()
    except RuntimeError as problem:
        return str(problem).splitlines()[0]
    return ""


def main() -> None:
    """Prints the device."""
    import torch

    sys.stdout.write(json.dumps(asdict(read_device(torch))) + "\n")


if __name__ == "__main__":
    main()
