"""How much memory a run will take, estimated before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from datasets_tools.errors import LorasmithError
from datasets_tools.examples import Example
from trainer.config import RunConfig
from trainer.data import read_training_examples
from trainer.device_kinds import DEVICE_KINDS, find_kind
from trainer.memory.fake_accelerator import Device, DeviceKind
from trainer.memory.simulation import Phase, simulate
from trainer.models import check_config, check_parts
from trainer.runs.base_models import locate_base_model

# Beyond tensors: what the driver, kernels and libraries take (bytes), and the share of the tensors'
# peak that is lost to fragmentation and to workspace of kernels. See docs/memory.md.
_ALLOWANCES: dict[DeviceKind, tuple[int, float]] = {
    "cpu": (700_000_000, 0.10),
    "cuda": (700_000_000, 0.05),
    "mps": (700_000_000, 0.10),
}


class EstimateError(LorasmithError):
    """The memory cannot be estimated; the message explains why."""


@dataclass(frozen=True)
class Estimate:
    """The memory of a run on its device, in bytes.

    Attributes:
        config: The run's settings.
        models: The workspace's folder of base models.
        device: Kind of device and precision.
        phases: Peak of each part of the run.
        base_model_bytes: Frozen weights on the device during a step.
        adapter_bytes: Trained weights; their gradients take the same again.
        optimizer_bytes: Optimizer state, the running average where there is one, and the state of
            the adapters' rules.
        resolution: Side of the square bucket in pixels.
        examples: The dataset.
    """

    config: RunConfig
    models: Path
    device: Device
    phases: tuple[Phase, ...]
    base_model_bytes: int
    adapter_bytes: int
    optimizer_bytes: int
    resolution: int
    examples: Sequence[Example] = field(repr=False)

    @property
    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(self.phases, key=lambda phase: phase.peak_bytes)

    @property
    def step_bytes(self) -> int:
        """The peak of a training step."""
        return next(p.peak_bytes for p in self.phases if p.name == "training step")

    @property
    def activation_bytes(self) -> int:
        """What a step needs beyond weights, gradients and optimizer state, at its peak."""
        lasting = self.base_model_bytes + 2 * self.adapter_bytes + self.optimizer_bytes
        return max(0, self.step_bytes - lasting)

    @property
    def allowance_bytes(self) -> int:
        """What is added for driver, libraries, kernels and fragmentation."""
        fixed, share = _ALLOWANCES[self.device.kind]
        return fixed + round(self.peak.peak_bytes * share)

    @property
    def total_bytes(self) -> int:
        """What must be free on the device for the run to be safe."""
        return self.peak.peak_bytes + self.allowance_bytes


def estimate_memory(
    config: RunConfig,
    models: Path = Path(),
    device: str = "",
    examples: Sequence[Example] | None = None,
) -> Estimate:
    """Returns the memory that a run will take, within about 15 % of its tensors' real peak.

    Neither the base model's weights nor the device are touched.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, where hub ids are looked up.
        device: "cpu", "cuda" or "mps", present or not; empty takes the config's.
        examples: The dataset; None reads it, and where none is set a typical one is assumed.

    Raises:
        LorasmithError: the run could not start either.
        EstimateError: the run could, but its memory cannot be estimated.
    """
    info = check_config(locate_base_model(config.base_model, models))
    check_parts(info)
    if examples is None:
        examples = read_training_examples(config.dataset)[0] if config.dataset.path else ()
    target = choose_device(config, device)
    try:
        simulated = simulate(info, config, examples, target)
    except LorasmithError:
        raise
    except Exception as error:
        msg = (
            f"The memory cannot be estimated for these settings ({type(error).__name__}: "
            f"{error}). Measure it with two training steps: `lorasmith probe`."
        )
        raise EstimateError(msg) from error
    return Estimate(
        config=config,
        models=models,
        device=target,
        phases=simulated.phases,
        base_model_bytes=simulated.base_model_bytes,
        adapter_bytes=simulated.adapter_bytes,
        optimizer_bytes=simulated.optimizer_bytes,
        resolution=simulated.resolution,
        examples=examples,
    )


def choose_device(config: RunConfig, device: str = "") -> Device:
    """Returns the device of a run, as `open_device_context` would choose it, without opening it.

    Args:
        config: The run's settings.
        device: "cpu", "cuda" or "mps", present or not; empty takes the config's.
    """
    kind = cast("DeviceKind", find_kind(device or config.train.device))
    precision: str = config.base_model.precision
    if precision == "auto":
        available = kind == "cuda" and torch.cuda.is_available()
        half = "fp16" if available and not torch.cuda.is_bf16_supported() else "bf16"
        precision = half if kind == "cuda" else "fp32"
    return Device(kind, precision)


def read_free_bytes(config: RunConfig, device: Device) -> int:
    """Returns the free memory of a run's device, which must exist."""
    return DEVICE_KINDS[device.kind].free_bytes(config.train.device)
