"""The noise that is added to latents."""

import random

import torch
from torch import Tensor
from torch.nn import functional

_MOST_LEVELS = 10


def sample_noise(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Returns Gaussian noise for one example, [C, h, w], on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def add_offset(noise: Tensor, offset: float, generator: torch.Generator) -> Tensor:
    """Returns noise with a shift per channel that is the same over the image.

    "Noise offset" (N. Guttenberg 2023); it lets the model learn overall brightness.
    """
    shift = torch.randn((noise.shape[0], 1, 1), generator=generator, device=generator.device)
    return noise + offset * shift


def add_pyramid(noise: Tensor, discount: float, seed: int, generator: torch.Generator) -> Tensor:
    """Returns noise with coarser and coarser noise on top, scaled back to a deviation of one.

    "Multi-resolution noise" (J. Whitaker 2023): level i is about (2 to 4)^i times coarser and
    weighs discount^i.

    Args:
        noise: [C, h, w].
        discount: Weight of each level over the one before, 0 .. 1.
        seed: Of the levels' sizes, which are numbers for Python and not for the device.
        generator: Of the levels' noise.
    """
    sizes = random.Random(seed)
    channels, height, width = noise.shape
    for level in range(1, _MOST_LEVELS):
        coarseness = (2 + 2 * sizes.random()) ** level
        rows, columns = max(1, int(height / coarseness)), max(1, int(width / coarseness))
        coarse = torch.randn(
            (1, channels, rows, columns), generator=generator, device=generator.device
        )
        fine = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        noise = noise + fine[0] * discount**level
        if rows == 1 or columns == 1:
            break
    return noise / noise.std()
