"""The mathematics of denoising as small pure functions; losses come back one per example."""

from trainer.diffusion.losses import HUBER_SCHEDULES, LOSSES
from trainer.diffusion.noise import add_offset, add_pyramid, draw_noise
from trainer.diffusion.schedule import NoiseSchedule, add_noise, make_schedule
from trainer.diffusion.step import Draws, draw_randomness, make_noisy, training_loss
from trainer.diffusion.targets import TARGETS
from trainer.diffusion.timesteps import DISTRIBUTIONS
from trainer.diffusion.weighting import WEIGHTINGS

__all__ = [
    "DISTRIBUTIONS",
    "HUBER_SCHEDULES",
    "LOSSES",
    "TARGETS",
    "WEIGHTINGS",
    "Draws",
    "NoiseSchedule",
    "add_noise",
    "add_offset",
    "add_pyramid",
    "draw_noise",
    "draw_randomness",
    "make_noisy",
    "make_schedule",
    "training_loss",
]
