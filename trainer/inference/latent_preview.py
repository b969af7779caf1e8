"""Images of latents without the VAE: a linear map, fitted on the VAE of the loaded base model.

To an eye the latents of Stable Diffusion are a small, blurred image whose channels are mixed. The
mixture is found by least squares, from images of smooth random colours and what the VAE makes of
them, so that it fits whatever VAE a base model has. Applying it takes microseconds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from trainer.models import Family

_IMAGES = 4
_SIDE = 32  # of their latents
_COLOURS = 6  # along each side, with all between them


@dataclass(frozen=True)
class LatentPreview:
    """The map from a latent pixel to a colour.

    Attributes:
        weight: [C + 1, 3], the last row is the constant; fp32, on the CPU.
    """

    weight: Tensor

    def render(self, latents: Tensor) -> Image.Image:
        """Returns the image of latents, [C, h, w], one pixel for each of theirs."""
        values = latents.detach().float().cpu()
        colours = torch.tensordot(values, self.weight[:-1], dims=([0], [0])) + self.weight[-1]
        scaled = ((colours + 1) * 127.5).round().nan_to_num().clamp(0, 255)
        return Image.fromarray(scaled.numpy().astype(np.uint8))


def fit_preview(family: Family) -> LatentPreview:
    """Returns the map that comes nearest to the VAE of a base model."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand((_IMAGES, 3, _COLOURS, _COLOURS), generator=generator) * 2 - 1
    small = functional.interpolate(colours, (_SIDE, _SIDE), mode="bicubic").clamp(-1, 1)
    side = _SIDE * family.latent_factor
    images = functional.interpolate(small, (side, side), mode="bilinear")
    latents = family.encode_images(images).mean.float().cpu()
    inputs = latents.movedim(1, -1).flatten(0, 2)
    ones = torch.ones((len(inputs), 1))
    targets = functional.avg_pool2d(images, family.latent_factor).movedim(1, -1).flatten(0, 2)
    solved = torch.linalg.lstsq(torch.cat([inputs, ones], dim=1), targets)
    return LatentPreview(solved.solution)
