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


def sample_uniform_place(shift: float, generator: torch.Generator) -> Tensor:
    """Returns a share of noise above 0, up to 1, that is equally likely everywhere."""
    del shift
    return 1 - torch.rand((), generator=generator, device=generator.device)


def sample_logit_normal_place(shift: float, generator: torch.Generator) -> Tensor:
    """Returns a share of noise at a sigmoid of a normal number; see `sample_logit_normal`."""
    normal = torch.randn((), generator=generator, device=generator.device)
    return torch.sigmoid(normal + shift)


def shift_sigma(sigma: Tensor, shift: float) -> Tensor:
    """Returns shift * sigma / (1 + (shift - 1) * sigma) (arXiv:2403.03206, eq. 23).

    It adds ln(shift) to the logarithm of sigma / (1 - sigma), and leaves 0 and 1 where they are.
    """
    return shift * sigma / (1 + (shift - 1) * sigma)


# Each takes the bounds (both included), the shift and a generator on the device.
DISTRIBUTIONS: dict[str, Distribution] = {
    "uniform": sample_uniform,
    "logit_normal": sample_logit_normal,
}
# The same for shares of noise, which are real numbers; each takes the shift and a generator.
PLACES: dict[str, Callable[[float, torch.Generator], Tensor]] = {
    "uniform": sample_uniform_place,
    "logit_normal": sample_logit_normal_place,
}
