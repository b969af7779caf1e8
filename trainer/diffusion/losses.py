"""The distance between what was predicted and what was wanted, per element."""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def measure_squared(difference: Tensor, scale: Tensor) -> Tensor:
    """Returns the squared difference."""
    del scale
    return difference.square()


def measure_absolute(difference: Tensor, scale: Tensor) -> Tensor:
    """Returns the absolute difference."""
    del scale
    return difference.abs()


def measure_huber(difference: Tensor, scale: Tensor) -> Tensor:
    """Returns the pseudo-Huber loss 2 c (sqrt(d^2 + c^2) - c).

    It is squared near zero and grows linearly beyond c, so that odd pixels pull less (Khrapov et
    al. 2024, arXiv:2403.16728, eq. 7).
    """
    return 2 * scale * ((difference.square() + scale.square()).sqrt() - scale)


def measure_smooth_l1(difference: Tensor, scale: Tensor) -> Tensor:
    """Returns 2 (sqrt(d^2 + c^2) - c): as Huber's, but with the slope of twice the absolute."""
    return 2 * ((difference.square() + scale.square()).sqrt() - scale)


# Each takes the difference [B, C, h, w] and Huber's c per example, [B, 1, 1, 1].
LOSSES: dict[str, Loss] = {
    "mse": measure_squared,
    "l1": measure_absolute,
    "huber": measure_huber,
    "smooth_l1": measure_smooth_l1,
}


def keep_constant(c: float, timesteps: Tensor, snr: Tensor) -> Tensor:
    """Returns c for every time step, [B]."""
    del timesteps
    return torch.full_like(snr, c)


def fall_exponentially(c: float, timesteps: Tensor, snr: Tensor) -> Tensor:
    """Returns c^(t / T): 1 where there is little noise, c at pure noise (arXiv:2403.16728, 4.2)."""
    share = (timesteps.to(snr.dtype) / 1000).clamp(0, 1)
    return torch.full_like(snr, c) ** share


def follow_snr(c: float, timesteps: Tensor, snr: Tensor) -> Tensor:
    """Returns (1 - c) / (1 + sigma)^2 + c with sigma^2 = 1 / SNR (arXiv:2403.16728, 4.2)."""
    del timesteps
    sigma = snr.clamp(min=1e-12).rsqrt()
    return (1 - c) / (1 + sigma).square() + c


HUBER_SCHEDULES: dict[str, Callable[[float, Tensor, Tensor], Tensor]] = {
    "constant": keep_constant,
    "exponential": fall_exponentially,
    "snr": follow_snr,
}
