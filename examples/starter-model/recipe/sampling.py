"""Images from the trained networks, many prompts at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from recipe.composing import to_bytes
from recipe.networks import LATENT_SHAPE, SCHEDULER
from recipe.render import Pixels
from recipe.settings import EvaluationSettings
from recipe.tokenizer import tokenize
from recipe.training import DeviceContext
from trainer.seeds import derive_seed


@dataclass(frozen=True)
class Networks:
    """A complete model, frozen, on a device."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL


@torch.no_grad()
def generate_images(
    networks: Networks,
    prompts: Sequence[str],
    settings: EvaluationSettings,
    seed: int,
    context: DeviceContext,
) -> Pixels:
    """Returns one image per prompt, [prompts, SIZE, SIZE, 3].

    Args:
        networks: The model.
        prompts: What to generate.
        settings: Steps, guidance, how many at once.
        seed: With a prompt's place in the list it decides the noise, the same on every device.
        context: Where to compute.
    """
    rows = tokenize(networks.tokenizer, [*prompts, ""])
    tokens = torch.tensor(rows, device=context.device).long()
    parts = []
    for start in range(0, len(prompts), settings.batch_size):
        part = tokens[:-1][start : start + settings.batch_size]
        noise = torch.stack(
            [_draw_noise(derive_seed(seed, "sample", start + row)) for row in range(len(part))]
        )
        latents = _denoise(networks, part, tokens[-1:], noise.to(context.device), settings)
        decoded = networks.vae.decode(latents / networks.vae.config.scaling_factor).sample
        parts.append(to_bytes(decoded).cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def rebuild(vae: AutoencoderKL, images: Tensor, chunk: int = 100) -> Tensor:
    """Returns images after the VAE has encoded and decoded them, -1 .. 1, [B, 3, h, w]."""
    parts = []
    for start in range(0, len(images), chunk):
        latents = vae.encode(images[start : start + chunk]).latent_dist.mean
        parts.append(vae.decode(latents).sample.clamp(-1, 1))
    return torch.cat(parts)


def _denoise(
    networks: Networks,
    tokens: Tensor,
    empty: Tensor,
    noise: Tensor,
    settings: EvaluationSettings,
) -> Tensor:
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(settings.inference_steps, device=noise.device)
    both = torch.cat((empty.expand(len(tokens), -1), tokens))
    text = networks.text_encoder(both)[0]
    latents = noise
    for timestep in scheduler.timesteps:
        predicted = networks.unet(torch.cat((latents, latents)), timestep, text).sample
        plain, prompted = predicted.chunk(2)
        guided = plain + settings.guidance * (prompted - plain)
        latents = scheduler.step(guided, timestep, latents).prev_sample
    return latents


def _draw_noise(seed: int) -> Tensor:
    # On the CPU: a GPU would sample other numbers from the same seed.
    return torch.randn(LATENT_SHAPE, generator=torch.Generator().manual_seed(seed))
