"""A factor per example by its signal-to-noise ratio.

The papers state their weights for the squared error of different predictions. So each row gives the
weight of the image's error, and divides by how much larger the error of the prediction is: the
`error_scale` of the noise process.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Each takes the SNR [B], the error scale [B] and gamma.
Weighting = Callable[[Tensor, Tensor, float], Tensor]
_LARGEST_SNR = 1000.0  # beyond it a time step has practically no noise


def weigh_equally(snr: Tensor, error_scale: Tensor, gamma: float) -> Tensor:
    """Returns ones, [B]: the error of what the model predicts, as it is."""
    del error_scale, gamma
    return torch.ones_like(snr)


def weigh_min_snr(snr: Tensor, error_scale: Tensor, gamma: float) -> Tensor:
    """Returns min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556, section 3.4), [B]."""
    return snr.clamp(max=gamma) / error_scale


def weigh_soft_min_snr(snr: Tensor, error_scale: Tensor, gamma: float) -> Tensor:
    """Returns SNR gamma / (SNR + gamma), a min without a kink (arXiv:2401.11605, section 3.5)."""
    return snr * gamma / (snr + gamma) / error_scale


def weigh_debiased(snr: Tensor, error_scale: Tensor, gamma: float) -> Tensor:
    """Returns sqrt(SNR), which is 1 / sqrt(SNR) for the noise (arXiv:2310.08442, eq. 10), [B]."""
    del gamma
    return snr / snr.clamp(1e-12, _LARGEST_SNR).sqrt() / error_scale


WEIGHTINGS: dict[str, Weighting] = {
    "none": weigh_equally,
    "min_snr": weigh_min_snr,
    "soft_min_snr": weigh_soft_min_snr,
    "debiased": weigh_debiased,
}
