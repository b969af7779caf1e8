"""Base models. What differs between families lives behind the verbs of `Family`; the loop never
names one."""

from trainer.models.check import BaseModelInfo, check_base_model
from trainer.models.embeddings import TextualInversion
from trainer.models.errors import ModelError
from trainer.models.family import (
    EVERY_MODEL,
    Conditioning,
    Family,
    Geometry,
    LatentDistribution,
    Model,
)
from trainer.models.loading import Parts, build_parts, check_parts
from trainer.models.opening import check_config, load_family, make_family

__all__ = [
    "EVERY_MODEL",
    "BaseModelInfo",
    "Conditioning",
    "Family",
    "Geometry",
    "LatentDistribution",
    "Model",
    "ModelError",
    "Parts",
    "TextualInversion",
    "build_parts",
    "check_base_model",
    "check_config",
    "check_parts",
    "load_family",
    "make_family",
]
