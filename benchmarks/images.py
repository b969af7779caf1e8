"""The images that are measured: real, generated, and real ones encoded and decoded by the VAE."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.evaluation.images import to_images
from trainer.models import Family
from trainer.models.samplers import list_sigmas, make_scheduler

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "benchmarks" / "data"
STARTER_MODEL = ROOT / "examples" / "starter-model"
SEEDS_PER_SET = 100  # more than there are prompts, so that no two images share their noise


Sets = list[list[Image.Image]]  # a set per seed, an image per prompt


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of the generated images.

    Attributes:
        guidance: Classifier-free guidance scale.
        inference_steps: Denoising steps.
        batch_size: Images generated together; it changes only rounding.
    """

    guidance: float = 4.0
    inference_steps: int = 25
    batch_size: int = 24


def read_prompts() -> list[str]:
    """Returns the 24 evaluation prompts, none of which is a subject of the training set."""
    known = json.loads((DATA / "prompts.json").read_text(encoding="utf-8"))
    return [entry["prompt"] for entry in known["prompts"]]


def read_held_out() -> list[Image.Image]:
    """Returns the 48 real images in the style, at the starter model's size."""
    paths = sorted((DATA / "openmoji-heldout" / "images").glob("*.png"))
    return [read_image_file(path) for path in paths]


def read_image_file(path: Path, side: int = 128) -> Image.Image:
    """Returns an image as the trainer shows it to the model: RGB, resized by Lanczos."""
    with Image.open(path) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def generate_sets(family: Family, prompts: Sequence[str], seeds: Sequence[int]) -> Sets:
    """Generates a set of images per seed."""
    return [generate_set(family, prompts, seed) for seed in seeds]


def generate_set(
    family: Family, prompts: Sequence[str], seed: int, how: GenerationSettings | None = None
) -> list[Image.Image]:
    """Generates one image per prompt, each with its own noise derived from the seed.

    The same images as `family.generate` makes one by one, in a fraction of the time.
    """
    how = how or GenerationSettings()
    images: list[Image.Image] = []
    for start in range(0, len(prompts), how.batch_size):
        chosen = list(prompts[start : start + how.batch_size])
        numbers = [image_seed(seed, start + index) for index in range(len(chosen))]
        images += _generate_batch(family, chosen, numbers, how)
    return images


def image_seed(seed: int, index: int) -> int:
    """Returns the seed of an image's noise, by its set and its prompt's place in the list."""
    return seed * SEEDS_PER_SET + index


def encode(family: Family, images: Sequence[Image.Image]) -> Tensor:
    """Returns the mean latents of images, scaled, [B, C, h, w]."""
    return family.encode_images(to_pixels(images)).mean


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """Returns images in -1 .. 1, [B, 3, H, W]."""
    values = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(values).permute(0, 3, 1, 2) / 127.5 - 1


def pass_through_vae(family: Any, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Returns images encoded and decoded once: the best that the base model could generate."""
    latents = encode(family, images) / float(family.vae.config.scaling_factor)
    with torch.no_grad():
        return to_images(family.vae.decode(latents, return_dict=False)[0])


def _generate_batch(
    family: Any, prompts: list[str], seeds: list[int], how: GenerationSettings
) -> Any:
    import diffusers

    library: Any = diffusers  # its classes are untyped
    pipeline = library.StableDiffusionPipeline(
        vae=family.vae,
        text_encoder=None,
        tokenizer=None,
        unet=family.unet,
        scheduler=make_scheduler(family.info),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        latents = pipeline(
            prompt_embeds=family.encode_captions(prompts)["text"],
            negative_prompt_embeds=family.encode_captions([""] * len(prompts))["text"],
            num_inference_steps=how.inference_steps,
            guidance_scale=how.guidance,
            width=family.default_resolution,
            height=family.default_resolution,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="latent",
            **list_sigmas(family.info, how.inference_steps),
        ).images
        factor = float(family.vae.config.scaling_factor)
        return to_images(family.vae.decode(latents.float() / factor, return_dict=False)[0])
