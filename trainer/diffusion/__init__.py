"""The mathematics of denoising as small pure functions; losses come back one per example."""

from trainer.diffusion.losses import HUBER_SCHEDULES, LOSSES
from trainer.diffusion.noise import add_offset, add_pyramid, sample_noise
from trainer.diffusion.process import PROCESSES, DiffusionNoise, FlowNoise, NoiseProcess
from trainer.diffusion.schedule import NoiseSchedule, add_noise, make_schedule
from trainer.diffusion.step import BatchNoise, sample_randomness, training_loss
from trainer.diffusion.targets import ERROR_SCALES, TARGETS
from trainer.diffusion.timesteps import DISTRIBUTIONS, shift_sigma
from trainer.diffusion.weighting import WEIGHTINGS

__all__ = [
    "DISTRIBUTIONS",
    "ERROR_SCALES",
    "HUBER_SCHEDULES",
    "LOSSES",
    "PROCESSES",
    "TARGETS",
    "WEIGHTINGS",
    "BatchNoise",
    "DiffusionNoise",
    "FlowNoise",
    "NoiseProcess",
    "NoiseSchedule",
    "add_noise",
    "add_offset",
    "add_pyramid",
    "make_schedule",
    "sample_noise",
    "sample_randomness",
    "shift_sigma",
    "training_loss",
]
