"""What the model is asked to predict."""

from collections.abc import Callable

from torch import Tensor

from trainer.diffusion.schedule import NoiseSchedule

Target = Callable[[NoiseSchedule, Tensor, Tensor, Tensor], Tensor]


def target_epsilon(
    schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """Returns the noise itself (DDPM, arXiv:2006.11239, eq. 14)."""
    del schedule, latents, timesteps
    return noise


def target_v(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Returns v = sqrt(ab) * noise - sqrt(1 - ab) * latents (arXiv:2202.00512, appendix D)."""
    share = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return share.sqrt() * noise - (1 - share).sqrt() * latents


def scale_epsilon_error(snr: Tensor) -> Tensor:
    """Returns SNR: an error of the image is that much larger in the noise (squared)."""
    return snr


def scale_v_error(snr: Tensor) -> Tensor:
    """Returns SNR + 1: an error of the image is that much larger in v (squared)."""
    return snr + 1


TARGETS: dict[str, Target] = {"epsilon": target_epsilon, "v_prediction": target_v}
# With SNR = ab / (1 - ab), from the definitions of v and of the noisy latents (arXiv:2202.00512,
# appendix D).
ERROR_SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": scale_epsilon_error,
    "v_prediction": scale_v_error,
}
