"""A factor per example by its signal-to-noise ratio."""

from collections.abc import Callable

import torch
from torch import Tensor

Weighting = Callable[[Tensor, str, float], Tensor]


def weigh_equally(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns ones, [B]."""
    del prediction, gamma
    return torch.ones_like(snr)


def weigh_min_snr(snr: Tensor, prediction: str, gamma: float) -> Tensor:
    """Returns min-SNR weights (Hang et al. 2023, arXiv:2303.09556, section 3.4), [B].

    In terms of the predicted picture the weight is min(SNR, gamma); for a model that predicts the
    noise that is min(SNR, gamma) / SNR, for v it is min(SNR, gamma) / (SNR + 1).
    """
    capped = snr.clamp(max=gamma)
    return capped / (snr + 1) if prediction == "v_prediction" else capped / snr


WEIGHTINGS: dict[str, Weighting] = {"none": weigh_equally, "min_snr": weigh_min_snr}
