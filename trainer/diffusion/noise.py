"""The noise that is added to latents."""

import torch
from torch import Tensor


def draw_noise(shape: tuple[int, int, int], offset: float, generator: torch.Generator) -> Tensor:
    """Returns Gaussian noise for one example, [C, h, w].

    Args:
        shape: (C, h, w).
        offset: Strength of a shift per channel that is the same over the picture ("noise offset",
            N. Guttenberg 2023); it lets the model learn overall brightness. 0 is plain noise.
        generator: On the device where the noise is wanted.
    """
    noise = torch.randn(shape, generator=generator, device=generator.device)
    if offset:
        shift = torch.randn((shape[0], 1, 1), generator=generator, device=generator.device)
        noise = noise + offset * shift
    return noise
