"""One training step's loss, from latents to a number per example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import ObjectiveConfig
from trainer.diffusion.losses import HUBER_SCHEDULES, LOSSES
from trainer.diffusion.noise import add_offset, add_pyramid, sample_noise
from trainer.diffusion.process import NoiseProcess
from trainer.diffusion.weighting import WEIGHTINGS


@dataclass(frozen=True)
class BatchNoise:
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


def sample_randomness(
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    process: NoiseProcess,
    objective: ObjectiveConfig,
    device: torch.device,
) -> BatchNoise:
    """Samples a batch's randomness, each example from its own seed.

    So an example meets the same noise whether it comes in a batch of four or in four batches of
    one, and a resumed run meets the noise it would have met.

    Args:
        seeds: One per example.
        shape: Of one example's latents, (C, h, w).
        process: Of the base model.
        objective: Range of time steps and noise offset.
        device: Where the tensors are made.
    """
    generator = torch.Generator(device)
    rows = []
    for seed in seeds:
        generator.manual_seed(seed)
        rows.append(_sample_example(seed, shape, process, objective, generator))
    return BatchNoise(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _sample_example(
    seed: int,
    shape: tuple[int, int, int],
    process: NoiseProcess,
    objective: ObjectiveConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns one example's time step, noise, latent noise and added noise."""
    timestep = process.sample_timestep(objective, generator)
    noise = sample_noise(shape, generator)
    if objective.noise_offset:
        noise = add_offset(noise, objective.noise_offset, generator)
    if objective.pyramid_noise:
        noise = add_pyramid(noise, objective.pyramid_noise, seed, generator)
    latent_noise = sample_noise(shape, generator)
    added = noise
    if objective.input_perturbation:
        # The model is shown a little more noise than it has to find (arXiv:2301.11706, eq. 12).
        added = noise + objective.input_perturbation * sample_noise(shape, generator)
    return timestep, noise, latent_noise, added


def training_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    batch_noise: BatchNoise,
    process: NoiseProcess,
    objective: ObjectiveConfig,
    masks: Tensor | None = None,
) -> Tensor:
    """Returns the weighted mean loss per example, fp32, [B].

    Args:
        predict: From noisy latents [B, C, h, w] and time steps [B] to a prediction [B, C, h, w].
        latents: Clean, scaled latents, [B, C, h, w].
        batch_noise: The batch's randomness.
        process: Of the base model.
        objective: Weighting and its parameter.
        masks: How much each place counts, in 0 .. 1, [B, 1, h, w]; None counts all the same. An
            example's loss is a mean over what counts, so that a small mask does not learn less.
    """
    timesteps = batch_noise.timesteps
    noisy = process.add_noise(latents, batch_noise.added_noise, timesteps)
    target = process.target(latents, batch_noise.noise, timesteps)
    difference = predict(noisy, timesteps).float() - target.float()
    snr = process.snr(timesteps)
    scale = HUBER_SCHEDULES[objective.huber_schedule](objective.huber_c, timesteps, snr)
    losses = LOSSES[objective.loss](difference, scale.view(-1, 1, 1, 1))
    weights = WEIGHTINGS[objective.weighting](
        snr, process.error_scale(snr), objective.min_snr_gamma
    )
    if masks is None:
        return losses.mean(dim=(1, 2, 3)) * weights
    minimum_weight = objective.unmasked_weight
    element_weights = minimum_weight + (1 - minimum_weight) * masks  # [B, 1, h, w]
    share = element_weights.mean(dim=(1, 2, 3)).clamp(min=1e-6)
    return (losses * element_weights).mean(dim=(1, 2, 3)) / share * weights
