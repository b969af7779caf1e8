"""Which time steps are trained how often."""

from collections.abc import Callable

import torch
from torch import Tensor

Distribution = Callable[[tuple[int, int], float, torch.Generator], Tensor]


def sample_uniform(bounds: tuple[int, int], shift: float, generator: torch.Generator) -> Tensor:
    """Returns a time step that is equally likely everywhere, as the base models were trained."""
    del shift
    low, high = bounds
    return torch.randint(low, high + 1, (), generator=generator, device=generator.device)


def sample_logit_normal(
    bounds: tuple[int, int], shift: float, generator: torch.Generator
) -> Tensor:
    """Returns a time step at a sigmoid of a normal number: mostly the middle.

    Esser et al. 2024, arXiv:2403.03206, eq. 19. A positive shift moves it towards noise, where
    composition is decided; a negative one towards detail.
    """
    low, high = bounds
    normal = torch.randn((), generator=generator, device=generator.device)
    place = torch.sigmoid(normal + shift)
    return (low + (place * (high - low + 1)).long()).clamp(max=high)


# Each takes the bounds (both included), the shift and a generator on the device.
DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": sample_uniform,
    "logit_normal": sample_logit_normal,
}
