"""One training step's loss, from latents to a number per example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import ObjectiveConfig
from trainer.diffusion.noise import draw_noise
from trainer.diffusion.schedule import NoiseSchedule, add_noise
from trainer.diffusion.targets import TARGETS
from trainer.diffusion.weighting import WEIGHTINGS


@dataclass(frozen=True)
class Draws:
    """Everything random about a batch.

    Attributes:
        timesteps: Integers, [B].
        noise: Added to the latents, [B, C, h, w].
        latent_noise: Picks the latents from the VAE's distribution, [B, C, h, w].
    """

    timesteps: Tensor
    noise: Tensor
    latent_noise: Tensor


def draw_randomness(
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    objective: ObjectiveConfig,
    device: torch.device,
) -> Draws:
    """Draws a batch's randomness, each example from its own seed.

    So an example meets the same noise whether it comes in a batch of four or in four batches of
    one, and a resumed run meets the noise it would have met.

    Args:
        seeds: One per example.
        shape: Of one example's latents, (C, h, w).
        objective: Range of time steps and noise offset.
        device: Where the tensors are made.
    """
    generator = torch.Generator(device)
    timesteps, noise, latent_noise = [], [], []
    low, high = objective.min_timestep, objective.max_timestep + 1
    for seed in seeds:
        generator.manual_seed(seed)
        timesteps.append(torch.randint(low, high, (), generator=generator, device=device))
        noise.append(draw_noise(shape, objective.noise_offset, generator))
        latent_noise.append(draw_noise(shape, 0.0, generator))
    return Draws(torch.stack(timesteps), torch.stack(noise), torch.stack(latent_noise))


def training_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    draws: Draws,
    schedule: NoiseSchedule,
    objective: ObjectiveConfig,
    prediction: str,
) -> Tensor:
    """Returns the weighted mean squared error per example, fp32, [B].

    Args:
        predict: From noisy latents [B, C, h, w] and time steps [B] to a prediction [B, C, h, w].
        latents: Clean, scaled latents, [B, C, h, w].
        draws: The batch's randomness.
        schedule: Of the base model.
        objective: Weighting and its parameter.
        prediction: A key of `TARGETS`.
    """
    noisy = add_noise(schedule, latents, draws.noise, draws.timesteps)
    wanted = TARGETS[prediction](schedule, latents, draws.noise, draws.timesteps)
    predicted = predict(noisy, draws.timesteps)
    losses = functional.mse_loss(predicted.float(), wanted.float(), reduction="none")
    weigh = WEIGHTINGS[objective.weighting]
    weights = weigh(schedule.snr[draws.timesteps], prediction, objective.min_snr_gamma)
    return losses.mean(dim=(1, 2, 3)) * weights
