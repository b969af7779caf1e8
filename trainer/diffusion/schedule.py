"""How much signal and noise each time step holds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """The cumulated signal share per time step, alpha-bar of DDPM (arXiv:2006.11239, eq. 4).

    Attributes:
        alphas_cumprod: fp32, [T], falling from nearly 1 to nearly 0.
    """

    alphas_cumprod: Tensor

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha-bar / (1 - alpha-bar), [T]."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Returns the schedule on a device."""
        return NoiseSchedule(self.alphas_cumprod.to(device))


def _space_linear(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start, end, count, dtype=torch.float32)


def _space_scaled_linear(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2


BETAS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": _space_linear,
    "scaled_linear": _space_scaled_linear,
}


def make_schedule(
    kind: str, beta_start: float, beta_end: float, count: int, zero_snr: bool = False
) -> NoiseSchedule:
    """Returns the schedule of a base model's scheduler config.

    Args:
        kind: A key of `BETAS`.
        beta_start: Noise added at the first time step.
        beta_end: Noise added at the last one.
        count: Time steps.
        zero_snr: Whether the last time step is pure noise.

    Raises:
        ValueError: the kind of beta spacing is unknown.
    """
    if kind not in BETAS:
        msg = f"the scheduler's beta_schedule {kind!r} is not supported; known: {', '.join(BETAS)}"
        raise ValueError(msg)
    alphas_cumprod = torch.cumprod(1 - BETAS[kind](beta_start, beta_end, count), dim=0)
    return NoiseSchedule(_end_in_noise(alphas_cumprod) if zero_snr else alphas_cumprod)


def _end_in_noise(alphas_cumprod: Tensor) -> Tensor:
    """Shifts and scales sqrt(alpha-bar) so that it ends at zero and starts where it did.

    Zero terminal SNR (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
    """
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def add_noise(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Returns sqrt(ab) * latents + sqrt(1 - ab) * noise per example (DDPM, eq. 4).

    Args:
        schedule: Of the base model, on the latents' device.
        latents: [B, C, h, w].
        noise: [B, C, h, w].
        timesteps: Integers in 0 .. T - 1, [B].
    """
    share = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return share.sqrt() * latents + (1 - share).sqrt() * noise
