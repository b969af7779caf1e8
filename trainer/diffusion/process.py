"""The noise process of a base model: everything about noise in which kinds of models differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.config import ObjectiveConfig
from trainer.diffusion.schedule import NoiseSchedule, add_noise, make_schedule
from trainer.diffusion.targets import ERROR_SCALES, TARGETS
from trainer.diffusion.timesteps import DISTRIBUTIONS, PLACES, shift_sigma

_FLOW_STEPS = 1000  # what a share of noise of 1 is called


class NoiseProcess(Protocol):
    """What training asks of a noise process."""

    def sample_timestep(self, objective: ObjectiveConfig, generator: torch.Generator) -> Tensor:
        """Returns one example's time step, a scalar on the generator's device."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns what the model is shown, [B, C, h, w]."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns what the model has to predict, [B, C, h, w]."""
        ...

    def snr(self, timesteps: Tensor) -> Tensor:
        """Returns the signal-to-noise ratio at time steps, [B]."""
        ...

    def error_scale(self, snr: Tensor) -> Tensor:
        """Returns the squared error of the prediction where that of the image is one, [B]."""
        ...


@dataclass(frozen=True)
class DiffusionNoise:
    """The process of DDPM (arXiv:2006.11239): latents and noise mixed by alpha-bar.

    Attributes:
        schedule: Alpha-bar per time step, on the device of the latents.
        prediction: What the model predicts, a key of `TARGETS`.
    """

    schedule: NoiseSchedule
    prediction: str

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], prediction: str, device: torch.device
    ) -> "DiffusionNoise":
        """Returns the process of a base model; `config` holds the arguments of `make_schedule`."""
        return cls(make_schedule(**config).to(device), prediction)

    def sample_timestep(self, objective: ObjectiveConfig, generator: torch.Generator) -> Tensor:
        """Returns one example's time step, an integer in the bounds of the objective."""
        bounds = (objective.min_timestep, objective.max_timestep)
        return DISTRIBUTIONS[objective.timesteps](bounds, objective.timestep_shift, generator)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns sqrt(ab) * latents + sqrt(1 - ab) * noise."""
        return add_noise(self.schedule, latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns the noise or v."""
        return TARGETS[self.prediction](self.schedule, latents, noise, timesteps)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Returns alpha-bar / (1 - alpha-bar)."""
        return self.schedule.snr[timesteps]

    def error_scale(self, snr: Tensor) -> Tensor:
        """Returns SNR for the noise and SNR + 1 for v."""
        return ERROR_SCALES[self.prediction](snr)


@dataclass(frozen=True)
class FlowNoise:
    """The process of rectified flow (arXiv:2209.03003): a straight line from latents to noise.

    The share of noise is sigma = t / 1000, and the model predicts the direction of the line. Time
    steps are real numbers above 0, up to 1000.

    Attributes:
        shift: Above 1 prefers noisy time steps; see `shift_sigma`.
    """

    shift: float

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], prediction: str, device: torch.device
    ) -> "FlowNoise":
        """Returns the process of a base model; `config` holds its shift."""
        del prediction, device
        return cls(float(config["shift"]))

    def sample_timestep(self, objective: ObjectiveConfig, generator: torch.Generator) -> Tensor:
        """Returns one example's time step, shifted within the bounds of the objective."""
        low, high = objective.min_timestep, objective.max_timestep
        place = PLACES[objective.timesteps](objective.timestep_shift, generator)
        return low + shift_sigma(place, self.shift) * (high + 1 - low)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns (1 - sigma) * latents + sigma * noise."""
        sigma = (timesteps / _FLOW_STEPS).view(-1, 1, 1, 1)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns noise - latents (arXiv:2403.03206, section 3.1)."""
        del timesteps
        return noise - latents

    def snr(self, timesteps: Tensor) -> Tensor:
        """Returns ((1 - sigma) / sigma)^2."""
        sigma = timesteps / _FLOW_STEPS
        return ((1 - sigma) / sigma).square()

    def error_scale(self, snr: Tensor) -> Tensor:
        """Returns 1 / sigma^2: the image is the noisy latents less sigma times the prediction."""
        return (snr.sqrt() + 1).square()


# Each takes the arguments of the base model's noise, what the model predicts, and the device.
PROCESSES: dict[str, Callable[[Mapping[str, Any], str, torch.device], NoiseProcess]] = {
    "diffusion": DiffusionNoise.from_config,
    "flow": FlowNoise.from_config,
}
