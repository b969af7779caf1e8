"""What a model family can do, as far as the rest of the trainer needs to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Conditioning = dict[str, Tensor]  # encoded captions with extras; the first axis is the batch


@dataclass(frozen=True)
class Moments:
    """The VAE's answer to an image: latents are mean + std * noise, scaled already.

    Attributes:
        mean: [B, C, h, w], fp32.
        std: [B, C, h, w], fp32.
    """

    mean: Tensor
    std: Tensor


class Family(Protocol):
    """The verbs in which model families differ."""

    name: str
    prediction: str
    default_resolution: int
    size_step: int  # image sides must be multiples of this
    latent_channels: int
    latent_factor: int  # image pixels per latent pixel, along one side

    def adaptable_models(self) -> dict[str, nn.Module]:
        """Returns the models that can carry adapters, by the prefix of their layer names."""
        ...

    def encode_images(self, pixels: Tensor) -> Moments:
        """Returns the latents' distribution for pixels in -1 .. 1, [B, 3, H, W]."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Returns the conditioning, with gradients where the text encoder carries adapters."""
        ...

    def predict(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Returns the denoiser's prediction, [B, C, h, w]."""
        ...

    def image_fingerprint(self) -> str:
        """Names the image encoder's weights, for cache keys."""
        ...

    def text_fingerprint(self) -> str:
        """Names the text encoder's weights, for cache keys."""
        ...

    def schedule_config(self) -> dict[str, Any]:
        """Returns kind, beta_start, beta_end and count of the noise schedule."""
        ...

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass."""
        ...

    def generate(self, request: "Drawing", device: torch.device) -> Any:
        """Returns a PIL image."""
        ...


@dataclass(frozen=True)
class Drawing:
    """What to draw.

    Attributes:
        width: Pixels; 0 takes the base model's own size.
        height: Pixels; 0 takes the base model's own size.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 1
    inference_steps: int = 20
    guidance: float = 7.0
    width: int = 0
    height: int = 0
