"""diffusers' own pipelines, from encoded prompts to latents."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.models.check import BaseModelInfo
from trainer.models.family import GenerationRequest
from trainer.models.samplers import list_sigmas


def generate_latents(
    pipeline: Any,
    prompts: Mapping[str, Tensor],
    requests: Sequence[GenerationRequest],
    info: BaseModelInfo,
    *,
    factor: int,
    side: int,
) -> Tensor:
    """Returns the latents of images, [images, C, h, w], each from the noise of its own seed.

    Args:
        pipeline: Of diffusers, without VAE and text encoders.
        prompts: Its arguments for prompts and negative prompts, a row per image.
        requests: They differ in prompt and seed alone.
        info: Of the base model.
        factor: Image pixels per latent pixel, which it cannot know without a VAE.
        side: Of an image whose request names no size, in pixels.
    """
    first = requests[0]
    pipeline.vae_scale_factor = factor
    pipeline.set_progress_bar_config(disable=True)
    latents: Tensor = pipeline(
        **prompts,
        num_inference_steps=first.inference_steps,
        guidance_scale=first.guidance,
        width=first.width or side,
        height=first.height or side,
        # Noise from the CPU, so that a seed means the same image on every device.
        generator=[torch.Generator("cpu").manual_seed(each.seed) for each in requests],
        output_type="latent",
        **list_sigmas(info, first.inference_steps),
    ).images
    return latents
