"""Training the autoencoder on images that are composed as it goes."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from recipe.composing import Sprites, compose, ink_edges
from recipe.networks import LATENT_FACTOR, LATENT_SHAPE, build_vae
from recipe.render import SIZE
from recipe.settings import VaeSettings
from recipe.training import DeviceContext, Pace, TrainingState, learn, remove_checkpoint
from trainer.seeds import derive_seed

# Share of a batch per layout; the rest is normal.
_LAYOUT_SHARES = {"large": 0.125, "small": 0.125, "pair": 0.25}
_MAX_SHIFT = 6  # pixels; then a drawing of normal size touches the border
_DARKEST, _LIGHTEST = 0.0, 0.3  # shades of ink


def train_vae(
    sprites: Sprites,
    usable: Sequence[int],
    settings: VaeSettings,
    seed: int,
    context: DeviceContext,
    folder: Path,
) -> None:
    """Trains an autoencoder and writes it to `folder/vae`.

    Args:
        sprites: All drawings.
        usable: Indices of those that may be trained on.
        settings: Of the VAE.
        seed: Of weights and batches.
        context: Where to compute.
        folder: For checkpoints and the result.

    Raises:
        OutOfTimeError: the time is over.
    """
    known = torch.tensor(usable, device=context.device)
    state, loss_at = make_vae_loss(sprites, known, settings, seed, context)
    learn(state, loss_at, context, folder)
    vae = state.networks["vae"].eval()
    images = sample_batch(sprites, known, settings, derive_seed(seed, "vae scale"))
    with torch.no_grad():
        spread = vae.encode(images).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=1 / max(spread, 1e-6))
    vae.save_pretrained(folder / "vae")
    remove_checkpoint(folder)


def make_vae_loss(
    sprites: Sprites, known: Tensor, settings: VaeSettings, seed: int, context: DeviceContext
) -> tuple[TrainingState, Callable[[int], Tensor]]:
    """Returns an untrained autoencoder with its training state, and the loss of each step."""
    vae = build_vae(settings, seed).to(context.device, memory_format=torch.channels_last).train()
    pace = Pace(
        settings.steps,
        settings.learning_rate,
        settings.matrix_learning_rate,
        settings.warmup_steps,
        settings.average_decay,
        1,
        settings.checkpoint_every,
    )
    run = context.prepare(lambda images, noise: reconstruct(vae, images, noise))

    def loss_at(step: int) -> Tensor:
        images = sample_batch(sprites, known, settings, derive_seed(seed, "vae batch", step))
        if settings.crop:
            images = crop_batch(images, settings.crop, derive_seed(seed, "vae crop", step), step)
        generator = context.generator(derive_seed(seed, "vae noise", step))
        edge = images.shape[-1] // LATENT_FACTOR
        shape = (len(images), LATENT_SHAPE[0], edge, edge)
        noise = torch.randn(shape, generator=generator, device=context.device)
        with context.autocast(), context.attention():
            rebuilt, mean, logvar = run(images, noise)
        return measure_loss(images, rebuilt.float(), mean.float(), logvar.float(), settings)

    return TrainingState({"vae": vae}, pace), loss_at


def load_vae(folder: Path, context: DeviceContext) -> AutoencoderKL:
    """Returns the trained autoencoder of a stage, frozen."""
    vae = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(requires_grad=False)
    return vae.eval().to(context.device, memory_format=torch.channels_last)


def reconstruct(vae: AutoencoderKL, images: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Returns images after encoding and decoding, and the means and log-variances of latents."""
    mean, logvar = vae.quant_conv(vae.encoder(images)).chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    latents = mean + (0.5 * logvar).exp() * noise
    return vae.decoder(vae.post_quant_conv(latents)), mean, logvar


def measure_loss(
    images: Tensor, rebuilt: Tensor, mean: Tensor, logvar: Tensor, settings: VaeSettings
) -> Tensor:
    """Returns L1 + MSE + L1 of edges + divergence, each with its weight."""
    error = rebuilt - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return (
        error.abs().mean()
        + settings.mse_weight * functional.mse_loss(rebuilt, images)
        + settings.gradient_weight * edges
        + settings.kl_weight * divergence
    )


def sample_batch(sprites: Sprites, known: Tensor, settings: VaeSettings, seed: int) -> Tensor:
    """Returns images of all layouts in -1 .. 1, [batch, 3, SIZE, SIZE].

    Args:
        sprites: All drawings.
        known: Indices of those that may be used, on the device.
        settings: Size of the batch, share of inked images.
        seed: Decides everything in the batch.
    """
    device, size = sprites.device, settings.batch_size
    generator = torch.Generator(device).manual_seed(seed)
    which = torch.randint(len(known), (size, 2), generator=generator, device=device)
    shades = torch.rand(size, 4, generator=generator, device=device)
    # Half of the grounds white, the others of any colour, not only of those with a name.
    grounds = torch.where(shades[:, :1] < 0.5, 1.0, shades[:, 1:])
    counts = {layout: int(share * size) for layout, share in _LAYOUT_SHARES.items()}
    counts = {"normal": size - sum(counts.values()), **counts}
    chance = random.Random(seed)
    parts, start = [], 0
    for layout, count in counts.items():
        rows = slice(start, start + count)
        shift = (chance.randint(-_MAX_SHIFT, _MAX_SHIFT), chance.randint(-_MAX_SHIFT, _MAX_SHIFT))
        parts.append(compose(sprites, layout, known[which[rows]], grounds[rows], shift))
        start += count
    images = torch.cat(parts)
    inked = int(settings.inked_share * size)
    if inked:
        rows_inked = torch.arange(inked, device=device) * size // inked
        darkness = _DARKEST + (_LIGHTEST - _DARKEST) * torch.rand(
            inked, generator=generator, device=device
        )
        images[rows_inked] = ink_edges(images[rows_inked], darkness)
    return images.contiguous(memory_format=torch.channels_last)


def crop_batch(images: Tensor, edge: int, seed: int, step: int) -> Tensor:
    """Returns pieces of images, or on every fourth step as many whole ones as cost the same.

    A crop has as much information per pixel, and a batch of crops shows more drawings; whole
    images train the attention in the middle at full size.

    Args:
        images: [B, 3, SIZE, SIZE].
        edge: Of the pieces, in pixels.
        seed: Decides where they are cut.
        step: Of the training.
    """
    if step % 4 == 0:
        # Every so-manieth: layouts lie one after the other in a batch.
        whole = images[step // 4 % 4 :: (SIZE // edge) ** 2]
        return whole.contiguous(memory_format=torch.channels_last)
    chance = random.Random(seed)
    top, left = (chance.randrange(SIZE - edge + 1) for _ in range(2))
    piece = images[:, :, top : top + edge, left : left + edge]
    return piece.contiguous(memory_format=torch.channels_last)
