"""Losses that do not change from one evaluation to the next: fixed noise and fixed time steps.

The training's own loss has new noise at every step and wobbles more than it falls. Here each image
meets the same noise at the same time steps for every checkpoint, and the mean squared error of the
prediction is given for each range of time steps, without the run's weighting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.adapters import AdapterSet
from trainer.device import DeviceContext
from trainer.diffusion import NoiseProcess
from trainer.inference.sampling import weighted
from trainer.models import Conditioning, Family, Geometry
from trainer.seeds import derive_seed

# The middle of each quarter of the time steps, out of 1000.
TIMESTEPS = (125, 375, 625, 875)
_NOISES = 2  # per image and time step


@dataclass(frozen=True)
class Probe:
    """An image that losses are measured on.

    Attributes:
        name: Seeds its noise.
        latents: Clean and scaled, [C, h, w], on the device.
        caption: As the model is shown it.
        geometry: How it was cropped.
    """

    name: str
    latents: Tensor
    caption: str
    geometry: Geometry


@dataclass(frozen=True)
class Model:
    """A base model with adapters on it, and its noise process."""

    family: Family
    context: DeviceContext
    process: NoiseProcess
    adapters: AdapterSet


def measure_losses(model: Model, probes: Sequence[Probe], weight: float) -> list[float]:
    """Returns the mean squared error per range of time steps, in the order of `TIMESTEPS`.

    Args:
        model: The base model with its adapters.
        probes: The images, at least one.
        weight: Of the adapters; 0 measures the base model.
    """

    def compute(noisy: Tensor, timesteps: Tensor, probe: Probe, noise: Tensor) -> Tensor:
        target = model.process.target(_repeat(probe, len(timesteps)), noise, timesteps)
        return _predict(model, probe, noisy, timesteps, weight) - target.float()

    return _average(model, probes, compute)


def measure_forgetting(model: Model, probes: Sequence[Probe], weight: float) -> list[float]:
    """Returns how far the answers with the adapters are from those without, squared, per range.

    Args:
        model: The base model with its adapters.
        probes: The base model's images, with captions that name only the class, or nothing.
        weight: Of the adapters.
    """

    def compute(noisy: Tensor, timesteps: Tensor, probe: Probe, _noise: Tensor) -> Tensor:
        known = _predict(model, probe, noisy, timesteps, 0.0)
        return _predict(model, probe, noisy, timesteps, weight) - known

    return _average(model, probes, compute)


def _average(
    model: Model,
    probes: Sequence[Probe],
    compute: Callable[[Tensor, Tensor, Probe, Tensor], Tensor],
) -> list[float]:
    sums = [0.0] * len(TIMESTEPS)
    device = model.context.device
    whole = model.family.noise == "diffusion"  # time steps of a flow are real numbers
    for probe in probes:
        shape = probe.latents.shape
        for place, timestep in enumerate(TIMESTEPS):
            seeds = [derive_seed("evaluation", probe.name, timestep, n) for n in range(_NOISES)]
            # On the CPU: the same noise whatever the device.
            noise = torch.stack(
                [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
            ).to(device)
            kind = torch.long if whole else torch.float32
            timesteps = torch.full((_NOISES,), timestep, dtype=kind, device=device)
            noisy = model.process.add_noise(_repeat(probe, _NOISES), noise, timesteps)
            difference = compute(noisy, timesteps, probe, noise)
            sums[place] += float(difference.square().mean())
    return [total / len(probes) for total in sums]


def _predict(model: Model, probe: Probe, noisy: Tensor, timesteps: Tensor, weight: float) -> Tensor:
    count = len(timesteps)
    with (
        torch.no_grad(),
        weighted([model.adapters], [weight]),
        model.context.accelerator.autocast(),
    ):
        conditioning: Conditioning = model.family.encode_captions([probe.caption] * count)
        conditioning |= model.family.describe_sizes([probe.geometry] * count)
        return model.family.predict(noisy, timesteps, conditioning).float()


def _repeat(probe: Probe, count: int) -> Tensor:
    return probe.latents.expand(count, *probe.latents.shape)
