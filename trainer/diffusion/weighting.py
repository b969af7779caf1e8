"""A factor per example by its signal-to-noise ratio.

The papers state their weights for the squared error of different predictions. With SNR = ab / (1 -
ab), an error of the noise is SNR times, one of v (SNR + 1) times that of the predicted image
(squared; arXiv:2202.00512, appendix D). So each row says the weight of the image's error, and
one place divides.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Weighting = Callable[[Tensor, str, float], Tensor]
_LARGEST_SNR = 1000.0  # beyond it a time step has practically no noise


def weigh_equally(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns ones, [B]: the error of what the model predicts, as it is."""
    del prediction, gamma
    return torch.ones_like(snr)


def weigh_min_snr(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556, section 3.4), [B]."""
    return _for_prediction(snr.clamp(max=gamma), snr, prediction)


def weigh_soft_min_snr(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns SNR gamma / (SNR + gamma), a min without a kink (arXiv:2401.11605, section 3.5)."""
    return _for_prediction(snr * gamma / (snr + gamma), snr, prediction)


def weigh_debiased(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns sqrt(SNR), which is 1 / sqrt(SNR) for the noise (arXiv:2310.08442, eq. 10), [B]."""
    del gamma
    return _for_prediction(snr / snr.clamp(1e-12, _LARGEST_SNR).sqrt(), snr, prediction)


def _for_prediction(weight: Tensor, snr: Tensor, prediction: str) -> Tensor:
    return weight / (snr + 1) if prediction == "v_prediction" else weight / snr


WEIGHTINGS: dict[str, Weighting] = {
    "none": weigh_equally,
    "min_snr": weigh_min_snr,
    "soft_min_snr": weigh_soft_min_snr,
    "debiased": weigh_debiased,
}
