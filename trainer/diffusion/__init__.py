"""The mathematics of denoising as small pure functions; losses come back one per example."""

from trainer.diffusion.noise import draw_noise
from trainer.diffusion.schedule import NoiseSchedule, add_noise, make_schedule
from trainer.diffusion.step import Draws, draw_randomness, training_loss
from trainer.diffusion.targets import TARGETS
from trainer.diffusion.weighting import WEIGHTINGS

__all__ = [
    "TARGETS",
    "WEIGHTINGS",
    "Draws",
    "NoiseSchedule",
    "add_noise",
    "draw_noise",
    "draw_randomness",
    "make_schedule",
    "training_loss",
]
