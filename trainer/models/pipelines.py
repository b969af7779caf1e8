"""diffusers' own pipelines, from encoded prompts to latents."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.models.check import BaseModelInfo
from trainer.models.family import GenerationRequest, StepCallback
from trainer.models.samplers import list_sigmas, make_scheduler

_ORIGINAL_STEPS = 50  # of LCM's schedule, of which the steps are chosen


def make_pipeline(unet: Any, info: BaseModelInfo, sampler: str) -> Any:
    """Returns the pipeline of SD 1.x and 2.x, without VAE and text encoder."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=make_scheduler(info, sampler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def generate_latents(
    pipeline: Any,
    prompts: Mapping[str, Tensor],
    requests: Sequence[GenerationRequest],
    info: BaseModelInfo,
    *,
    factor: int,
    side: int,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Returns the latents of images, [images, C, h, w], each from the noise of its own seed.

    Args:
        pipeline: Of diffusers, without VAE and text encoders.
        prompts: Its arguments for prompts and negative prompts, a row per image.
        requests: They differ in prompt and seed alone.
        info: Of the base model.
        factor: Image pixels per latent pixel, which it cannot know without a VAE.
        side: Of an image whose request names no size, in pixels.
        on_step: Called before each step is taken.
    """
    first = requests[0]
    pipeline.vae_scale_factor = factor
    pipeline.set_progress_bar_config(disable=True)
    scheduler = pipeline.scheduler
    if type(scheduler).__name__ == "LCMScheduler":
        most = max(_ORIGINAL_STEPS, first.inference_steps)
        scheduler.register_to_config(original_inference_steps=most)
    if on_step is not None:
        scheduler.step = _report_steps(scheduler, info, on_step)
    latents: Tensor = pipeline(
        **prompts,
        num_inference_steps=first.inference_steps,
        guidance_scale=first.guidance,
        width=first.width or side,
        height=first.height or side,
        # Noise from the CPU, so that a seed means the same image on every device.
        generator=[torch.Generator("cpu").manual_seed(each.seed) for each in requests],
        output_type="latent",
        **list_sigmas(info, first.inference_steps, first.sampler),
    ).images
    return latents


def predict_image(
    scheduler: Any, info: BaseModelInfo, predicted: Tensor, timestep: Any, sample: Tensor
) -> Tensor:
    """Returns the latents of the image that a model's prediction points to, [images, C, h, w].

    Args:
        scheduler: Of diffusers.
        info: Of the base model, for what it predicts.
        predicted: By the model at a time step.
        timestep: The time step.
        sample: The latents as the scheduler scales them.
    """
    if info.prediction == "flow":
        return sample - float(timestep) / scheduler.config.num_train_timesteps * predicted
    # What the model was given: of variance 1, whatever variance the scheduler works with.
    scaled = scheduler.scale_model_input(sample, timestep)
    signal = scheduler.alphas_cumprod[round(float(timestep))].to(scaled)
    if info.prediction == "v_prediction":
        return signal.sqrt() * scaled - (1 - signal).sqrt() * predicted
    return (scaled - (1 - signal).sqrt() * predicted) / signal.sqrt()


def _report_steps(scheduler: Any, info: BaseModelInfo, on_step: StepCallback) -> Callable[..., Any]:
    take, count = scheduler.step, 0

    # The pipelines read the signature, to know whether it takes a generator.
    @functools.wraps(take)
    def step(predicted: Tensor, timestep: Any, sample: Tensor, *rest: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        image = predict_image(scheduler, info, predicted, timestep, sample)
        on_step(count, len(scheduler.timesteps), image)
        return take(predicted, timestep, sample, *rest, **options)

    return step
