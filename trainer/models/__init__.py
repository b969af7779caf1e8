"""Base models. What differs between families lives behind the verbs of `Family`; the loop never
names one."""

from trainer.models.check import BaseModelInfo, check_base_model
from trainer.models.errors import ModelError
from trainer.models.family import Conditioning, Family, Moments
from trainer.models.sd import StableDiffusion

FAMILIES: dict[str, type[StableDiffusion]] = {"sd15": StableDiffusion, "sd2": StableDiffusion}

__all__ = [
    "FAMILIES",
    "BaseModelInfo",
    "Conditioning",
    "Family",
    "ModelError",
    "Moments",
    "StableDiffusion",
    "check_base_model",
]
