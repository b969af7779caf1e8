"""The noise process of a base model: everything about noise in which kinds of models differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.config import ObjectiveConfig
from trainer.diffusion.schedule import NoiseSchedule, add_noise, make_schedule
from trainer.diffusion.targets import ERROR_SCALES, TARGETS
from trainer.diffusion.timesteps import DISTRIBUTIONS


class NoiseProcess(Protocol):
    """What training asks of a noise process; flow matching would be another class with these."""

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


# Each takes the base model's schedule config, what the model predicts, and the device.
PROCESSES: dict[str, Callable[[Mapping[str, Any], str, torch.device], NoiseProcess]] = {
    "diffusion": DiffusionNoise.from_config,
}
