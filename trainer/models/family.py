"""The interface of a model family to the rest of the trainer."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from trainer.formats.families import FamilySpec
from trainer.formats.unet_names import UNetNames
from trainer.models.blocks import UNetBlocks
from trainer.models.check import BaseModelInfo
from trainer.models.embeddings import Vocabulary
from trainer.models.layers import ModelLayer

# Encoded captions with extras; the first axis is the batch. "text" [B, tokens, width] is always
# there, "mask" [B, tokens] where lengths differ, "pooled" and "sizes" where the family has them.
Conditioning = dict[str, Tensor]
Model = Literal["image", "text", "unet"]  # what `keep_on_device` moves: VAE, text encoders, UNet
# Hears of each step while an image is generated: which one, of how many, and the latents of the
# image that it leads to, [images, C, h, w]. What it raises ends the generating.
StepCallback = Callable[[int, int, Tensor], None]
EVERY_MODEL: frozenset[Model] = frozenset({"image", "text", "unet"})


@dataclass(frozen=True)
class LatentDistribution:
    """The VAE's distribution of latents for an image: mean + std * noise, already scaled.

    Attributes:
        mean: [B, C, h, w], fp32.
        std: [B, C, h, w], fp32.
    """

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Geometry:
    """How an example was cropped from its image, in pixels as (height, width).

    Attributes:
        original: Size of the image file.
        crop: Top and left of the crop in the resized image.
        target: Size of the bucket.
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]


class Family(Protocol):
    """The operations in which model families differ."""

    name: str
    info: BaseModelInfo
    device: torch.device
    spec: FamilySpec
    prediction: str
    noise: str  # the noise process, a key of `trainer.diffusion.PROCESSES`
    sampler: str  # as A1111 calls it
    unet_names: UNetNames
    default_resolution: int
    size_step: int  # image sides must be multiples of this
    latent_channels: int
    latent_factor: int  # image pixels per latent pixel, along one side
    vocabulary: Vocabulary
    blocks: UNetBlocks  # those of the denoiser, which save memory one by one

    def adaptable_models(self) -> dict[str, nn.Module]:
        """Returns the models that can carry adapters, by the prefix of their layer names."""
        ...

    def adaptable_layers(self) -> list[ModelLayer]:
        """Returns the layers that adapters are trained on."""
        ...

    def all_layers(self) -> list[ModelLayer]:
        """Returns all linear and convolution layers, the adaptable ones first."""
        ...

    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """Returns the latents' distribution for pixels in -1 .. 1, [B, 3, H, W]."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Returns the conditioning, with gradients where the text encoder carries adapters."""
        ...

    def count_unread_tokens(self, caption: str) -> int:
        """Returns how many tokens at the end of a caption are beyond its chunks, and not read."""
        ...

    def encode_prompts(
        self, prompts: Sequence[str], *, remember: bool = False
    ) -> list[Conditioning]:
        """Returns each prompt's conditioning, as a generated image needs it, and may keep it."""
        ...

    def join_conditioning(self, rows: Sequence[Conditioning]) -> Conditioning:
        """Returns several captions' conditioning as one batch, padded to one length."""
        ...

    def describe_sizes(self, geometry: Sequence[Geometry]) -> Conditioning:
        """Returns the conditioning on sizes and crops; empty in most families."""
        ...

    def predict(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Returns the denoiser's prediction, [B, C, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Returns the pixels of latents, in -1 .. 1, [B, 3, H, W]."""
        ...

    def save_vae_memory(self) -> bool:
        """Has the VAE take the least memory from here on; returns whether that changes anything."""
        ...

    def image_fingerprint(self) -> str:
        """Names the image encoder's weights, for cache keys."""
        ...

    def text_fingerprint(self) -> str:
        """Names the text encoder's weights, for cache keys."""
        ...

    def schedule_config(self) -> dict[str, Any]:
        """Returns the arguments of the noise process: its shift, or the noise schedule."""
        ...

    def keep_on_device(self, models: Collection[Model]) -> None:
        """Keeps these models on the device; offloads the others to main memory until needed."""
        ...

    def offloading_all(self) -> AbstractContextManager[None]:
        """All models wait in main memory while the block runs."""
        ...

    def enable_gradient_checkpointing(self, fraction: float = 1.0) -> None:
        """Recompute activations in the backward pass, those of a fraction of the blocks."""
        ...

    def enable_recomputation(self, *, feed_forward: bool) -> None:
        """Recompute the denoiser's cheap activations; of feed-forward layers more than these."""
        ...

    def generate(self, request: "GenerationRequest") -> Any:
        """Returns a PIL image."""
        ...

    def generate_all(
        self, requests: "Sequence[GenerationRequest]", on_step: StepCallback | None = None
    ) -> list[Any]:
        """Returns PIL images of requests that differ in prompt and seed alone, in one batch."""
        ...


@dataclass(frozen=True)
class GenerationRequest:
    """The settings of one generated image.

    Attributes:
        width: Pixels; 0 takes the base model's own size.
        height: Pixels; 0 takes the base model's own size.
        sampler: A key of `SAMPLERS`; "" takes the base model's usual one.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 1
    inference_steps: int = 20
    guidance: float = 7.0
    width: int = 0
    height: int = 0
    sampler: str = ""


def list_prompts(request: GenerationRequest) -> list[str]:
    """Returns the texts that an image is generated from: two with guidance, else one."""
    return [request.prompt, *([request.negative_prompt] if request.guidance > 1 else [])]
