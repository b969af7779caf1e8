"""One training step's loss, from latents to a number per example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import ObjectiveConfig
from trainer.diffusion.losses import HUBER_SCHEDULES, LOSSES
from trainer.diffusion.noise import add_offset, add_pyramid, draw_noise
from trainer.diffusion.schedule import NoiseSchedule, add_noise
from trainer.diffusion.targets import TARGETS
from trainer.diffusion.timesteps import DISTRIBUTIONS
from trainer.diffusion.weighting import WEIGHTINGS


@dataclass(frozen=True)
class Draws:
    """Everything random about a batch.

    Attributes:
        timesteps: Integers, [B].
        noise: What the model has to find, [B, C, h, w].
        latent_noise: Picks the latents from the VAE's distribution, [B, C, h, w].
        added_noise: What is added to the latents, [B, C, h, w]: the noise itself, unless the
            input is perturbed.
    """

    timesteps: Tensor
    noise: Tensor
    latent_noise: Tensor
    added_noise: Tensor


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
    rows = []
    for seed in seeds:
        generator.manual_seed(seed)
        rows.append(_draw_one(seed, shape, objective, generator))
    return Draws(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _draw_one(
    seed: int, shape: tuple[int, int, int], objective: ObjectiveConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns one example's time step, noise, latent noise and added noise."""
    bounds = (objective.min_timestep, objective.max_timestep)
    draw_timestep = DISTRIBUTIONS[objective.timesteps]
    timestep = draw_timestep(bounds, objective.timestep_shift, generator)
    noise = draw_noise(shape, generator)
    if objective.noise_offset:
        noise = add_offset(noise, objective.noise_offset, generator)
    if objective.pyramid_noise:
        noise = add_pyramid(noise, objective.pyramid_noise, seed, generator)
    latent_noise = draw_noise(shape, generator)
    added = noise
    if objective.input_perturbation:
        # The model is shown a little more noise than it has to find (arXiv:2301.11706, eq. 12).
        added = noise + objective.input_perturbation * draw_noise(shape, generator)
    return timestep, noise, latent_noise, added


def make_noisy(schedule: NoiseSchedule, latents: Tensor, draws: Draws) -> Tensor:
    """Returns what the model is shown, [B, C, h, w]."""
    return add_noise(schedule, latents, draws.added_noise, draws.timesteps)


def training_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    draws: Draws,
    schedule: NoiseSchedule,
    objective: ObjectiveConfig,
    prediction: str,
    masks: Tensor | None = None,
) -> Tensor:
    """Returns the weighted mean loss per example, fp32, [B].

    Args:
        predict: From noisy latents [B, C, h, w] and time steps [B] to a prediction [B, C, h, w].
        latents: Clean, scaled latents, [B, C, h, w].
        draws: The batch's randomness.
        schedule: Of the base model.
        objective: Weighting and its parameter.
        prediction: A key of `TARGETS`.
        masks: How much each place counts, in 0 .. 1, [B, 1, h, w]; None counts all the same. An
            example's loss is a mean over what counts, so that a small mask does not learn less.
    """
    timesteps = draws.timesteps
    noisy = make_noisy(schedule, latents, draws)
    wanted = TARGETS[prediction](schedule, latents, draws.noise, timesteps)
    difference = predict(noisy, timesteps).float() - wanted.float()
    snr = schedule.snr[timesteps]
    scale = HUBER_SCHEDULES[objective.huber_schedule](objective.huber_c, timesteps, snr)
    losses = LOSSES[objective.loss](difference, scale.view(-1, 1, 1, 1))
    weights = WEIGHTINGS[objective.weighting](snr, prediction, objective.min_snr_gamma)
    if masks is None:
        return losses.mean(dim=(1, 2, 3)) * weights
    floor = objective.unmasked_weight
    places = floor + (1 - floor) * masks  # [B, 1, h, w]
    share = places.mean(dim=(1, 2, 3)).clamp(min=1e-6)
    return (losses * places).mean(dim=(1, 2, 3)) / share * weights
