"""The loss of a batch: of the dataset, and of prior preservation."""

from functools import partial

import torch
from torch import Tensor

from datasets_tools.captions import replace_trigger
from trainer.data import Batch, Source
from trainer.diffusion import BatchNoise, sample_randomness, training_loss
from trainer.models import Conditioning
from trainer.training.session import Session
from trainer.training.sources import describe_geometry


def compute_losses(session: Session, batch: Batch) -> Tensor:
    """Returns the loss per example of the dataset, fp32, [B]."""
    return _compute(session, session.source, batch)


def compute_prior_losses(session: Session, batch: Batch) -> Tensor | None:
    """Returns what keeps the model's knowledge of the class, per example, fp32, [B].

    With images of the class it is their ordinary loss (DreamBooth, arXiv:2208.12242, eq. 2); with
    the base model as teacher it is the distance between the adapted model's answer and the base
    model's own, for the same noisy latents and a caption that names the class and not the trigger.

    Args:
        session: The run.
        batch: Of the images of the class, or of the dataset for the teacher.
    """
    kind = session.config.objective.prior
    if kind == "images" and session.prior:
        return _compute(session, session.prior, batch)
    return _distance_to_base_model(session, batch) if kind == "teacher" else None


def _compute(session: Session, source: Source, batch: Batch) -> Tensor:
    batch_noise, latents = _sample_batch(session, source, batch)
    masks = source.latents.masks(batch.indices, batch.flips)
    with session.context.accelerator.autocast():
        conditioning = _condition(session, source, batch, batch.captions)
        return training_loss(
            partial(session.family.predict, conditioning=conditioning),
            latents,
            batch_noise,
            session.noise,
            session.config.objective,
            masks,
        )


def _distance_to_base_model(session: Session, batch: Batch) -> Tensor:
    dataset = session.config.dataset
    batch_noise, latents = _sample_batch(session, session.source, batch)
    captions = tuple(
        replace_trigger(each, dataset.trigger, dataset.class_word) for each in batch.captions
    )
    with session.context.accelerator.autocast():
        noisy = session.noise.add_noise(latents, batch_noise.added_noise, batch_noise.timesteps)
        with session.adapters.restored(), torch.no_grad():
            session.adapters.set_multiplier(0.0)
            known = _condition(session, session.source, batch, captions)
            reference = session.family.predict(noisy, batch_noise.timesteps, known).float()
        conditioning = _condition(session, session.source, batch, captions)
        prediction = session.family.predict(noisy, batch_noise.timesteps, conditioning).float()
    return (prediction - reference).square().mean(dim=(1, 2, 3))


def _sample_batch(session: Session, source: Source, batch: Batch) -> tuple[BatchNoise, Tensor]:
    """Returns the batch's randomness and latents, [B, C, h, w]."""
    bucket = source.examples[batch.indices[0]].bucket
    factor = session.family.latent_factor
    shape = (session.family.latent_channels, bucket.height // factor, bucket.width // factor)
    batch_noise = sample_randomness(
        batch.seeds, shape, session.noise, session.config.objective, session.context.device
    )
    if session.config.adapter.uses_dropout:
        torch.manual_seed(batch.seeds[0])  # dropout uses the global generator
    return batch_noise, source.latents.sample(batch.indices, batch.flips, batch_noise.latent_noise)


def _condition(
    session: Session, source: Source, batch: Batch, captions: tuple[str, ...]
) -> Conditioning:
    cuts = zip(batch.indices, batch.flips, strict=True)
    sizes = session.family.describe_sizes(
        [describe_geometry(source.examples[index], flipped) for index, flipped in cuts]
    )
    return session.encode_captions(captions) | sizes
