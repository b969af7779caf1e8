"""Training UNet and text encoder together, by the diffusion loss alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel

from recipe.examples import ExampleTable
from recipe.networks import SCHEDULER, build_text_encoder, build_unet, make_noise_schedule
from recipe.settings import UnetSettings
from recipe.training import DeviceContext, Pace, TrainingState, learn, remove_checkpoint
from trainer.config import ObjectiveConfig
from trainer.diffusion import BatchNoise, DiffusionNoise, training_loss
from trainer.seeds import derive_seed


@dataclass(frozen=True)
class TrainingSet:
    """All that batches are cut from, on the device.

    Attributes:
        latents: fp16, [E, 4, h, w], grouped by kind.
        kind_counts: Examples of each kind.
        wordings: Rows of `tokens` for each example, [E, captions per example].
        tokens: int16, [captions + 1, positions]; the last row is the empty caption.
    """

    latents: Tensor
    kind_counts: Sequence[int]
    wordings: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        latents: fp32, [B, 4, h, w].
        tokens: [B, positions].
        batch_noise: Time steps and noise.
    """

    latents: Tensor
    tokens: Tensor
    batch_noise: BatchNoise


@dataclass(frozen=True)
class UnetTraining:
    """The two networks and their training state."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    state: TrainingState


def gather_training_set(
    latents_path: Path,
    table: ExampleTable,
    rows: NDArray[np.int16],
    empty: NDArray[np.int16],
    device: torch.device,
) -> TrainingSet:
    """Returns everything a training needs, on the device.

    Args:
        latents_path: From `latents.encode_examples`.
        table: The examples, in the order of the latents.
        rows: Tokens of `table.captions`, [captions, positions].
        empty: Tokens of the empty caption, [1, positions].
        device: Where all goes.
    """
    tokens = torch.tensor(np.concatenate((rows, empty)), device=device)
    return TrainingSet(
        torch.tensor(np.load(latents_path), device=device),
        table.count_kinds(),
        torch.tensor(table.wordings, device=device),
        tokens,
    )


def sample_batch(training_set: TrainingSet, settings: UnetSettings, seed: int) -> Batch:
    """Returns a batch with a fixed share of each kind; nothing here waits for the device.

    Args:
        training_set: What to choose from.
        settings: Size, shares, share of empty captions.
        seed: Decides everything in the batch.
    """
    device, size = training_set.latents.device, settings.batch_size
    generator = torch.Generator(device).manual_seed(seed)
    places = torch.rand(size, generator=generator, device=device)
    chosen, start = [], 0
    for count, first, total in split_batch(size, settings.shares, training_set.kind_counts):
        part = places[start : start + count] * total
        chosen.append(first + part.long().clamp(max=total - 1))
        start += count
    examples = torch.cat(chosen)
    wordings = training_set.wordings[examples]
    spoken = torch.randint(wordings.shape[1], (size, 1), generator=generator, device=device)
    captions = wordings.gather(1, spoken).squeeze(1)
    silent = torch.rand(size, generator=generator, device=device) < settings.empty_captions
    captions = torch.where(silent, len(training_set.tokens) - 1, captions)
    latents = training_set.latents[examples].float()
    noise = torch.randn(latents.shape, generator=generator, device=device)
    # One from each of so many equal stretches: a batch of fewer steps by chance is noisier.
    stretches = torch.randperm(size, generator=generator, device=device)
    positions = (stretches + torch.rand(size, generator=generator, device=device)) / size
    last = SCHEDULER["num_train_timesteps"] - 1
    timesteps = (positions * (last + 1)).long().clamp(max=last)
    # The latents are means already, so nothing is picked around them.
    batch_noise = BatchNoise(
        timesteps, noise, latent_noise=torch.zeros_like(noise), added_noise=noise
    )
    return Batch(latents, training_set.tokens[captions].long(), batch_noise)


def split_batch(
    size: int, shares: Sequence[float], kind_counts: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Returns per kind: its rows in a batch, its first example, its number of examples.

    What the shares leave over, and the share of a kind that has no examples, goes to the first.
    """
    firsts = [sum(kind_counts[:kind]) for kind in range(len(kind_counts))]
    rows = [int(size * share) if n else 0 for share, n in zip(shares, kind_counts, strict=True)]
    rows[0] = size - sum(rows[1:])
    return [each for each in zip(rows, firsts, kind_counts, strict=True) if each[0]]


def make_unet_training(
    settings: UnetSettings, vocabulary: int, seed: int, context: DeviceContext
) -> UnetTraining:
    """Returns untrained networks on the device, and what trains them."""
    unet = build_unet(settings, seed).to(context.device, memory_format=torch.channels_last).train()
    text_encoder = build_text_encoder(settings, vocabulary, seed).to(context.device).train()
    pace = Pace(
        settings.steps,
        settings.learning_rate,
        settings.matrix_learning_rate,
        settings.warmup_steps,
        settings.average_decay,
        settings.average_every,
        settings.checkpoint_every,
    )
    return UnetTraining(
        unet, text_encoder, TrainingState({"unet": unet, "text_encoder": text_encoder}, pace)
    )


def train_unet(
    training_set: TrainingSet,
    vocabulary: int,
    settings: UnetSettings,
    seed: int,
    context: DeviceContext,
    folder: Path,
    start: Path | None = None,
) -> None:
    """Trains both networks and writes them to `folder/unet` and `folder/text_encoder`.

    Args:
        training_set: What to learn from.
        vocabulary: Size of the tokenizer's.
        settings: Of the networks and their training.
        seed: Of weights and batches.
        context: Where to compute.
        folder: For checkpoints and the result.
        start: Folder of a finished training that this one goes on from.

    Raises:
        OutOfTimeError: the time is over.
    """
    training, loss_at = make_unet_loss(training_set, vocabulary, settings, seed, context)
    if start:
        unet, text_encoder = load_networks(start, context)
        training.state.start_from({"unet": unet, "text_encoder": text_encoder})
    learn(training.state, loss_at, context, folder)
    training.unet.save_pretrained(folder / "unet")
    training.text_encoder.save_pretrained(folder / "text_encoder")
    remove_checkpoint(folder)


def make_unet_loss(
    training_set: TrainingSet,
    vocabulary: int,
    settings: UnetSettings,
    seed: int,
    context: DeviceContext,
) -> tuple[UnetTraining, Callable[[int], Tensor]]:
    """Returns untrained networks with their training state, and the loss of each step."""
    training = make_unet_training(settings, vocabulary, seed, context)
    objective = ObjectiveConfig.model_validate(
        {"weighting": settings.weighting, "min_snr_gamma": settings.min_snr_gamma}
    )
    schedule = make_noise_schedule(context.device)
    process = DiffusionNoise(schedule, SCHEDULER["prediction_type"])
    predict = context.prepare(
        lambda noisy, timesteps, tokens: training.unet(
            noisy, timesteps, training.text_encoder(tokens)[0], return_dict=False
        )[0]
    )

    def loss_at(step: int) -> Tensor:
        batch = sample_batch(training_set, settings, derive_seed(seed, "unet batch", step))
        with context.autocast(), context.attention():
            losses = training_loss(
                lambda noisy, timesteps: predict(noisy, timesteps, batch.tokens),
                batch.latents,
                batch.batch_noise,
                process,
                objective,
            )
        return losses.mean()

    return training, loss_at


def load_networks(
    folder: Path, context: DeviceContext
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Returns the trained UNet and text encoder of a stage, frozen."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").requires_grad_(requires_grad=False)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(
        requires_grad=False
    )
    unet = unet.eval().to(context.device, memory_format=torch.channels_last)
    return unet, text_encoder.eval().to(context.device)
