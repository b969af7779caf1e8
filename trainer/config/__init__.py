"""Every knob of a run, declared once.

A knob is a field of a pydantic model: type, default, bounds and one sentence of help. The form in
the app, `--set a.b=value`, the error messages, the reference in `docs/` and the comments in the
saved `config.toml` all derive from that declaration.
"""

from trainer.config.adapter import AdaLoRAConfig, AdapterConfig, BlockConfig
from trainer.config.base_model import BaseModelConfig
from trainer.config.dataset import DatasetConfig
from trainer.config.errors import ConfigError, Problem
from trainer.config.files import (
    config_to_toml,
    layer_config,
    list_presets,
    parse_assignment,
    read_config,
    read_preset,
)
from trainer.config.objective import ObjectiveConfig
from trainer.config.optimizer import OptimizerConfig, Part
from trainer.config.output import OutputConfig
from trainer.config.run import RunConfig
from trainer.config.samples import SamplesConfig
from trainer.config.schedules import SCHEDULES, schedule_factor
from trainer.config.train import TrainConfig

__all__ = [
    "SCHEDULES",
    "AdaLoRAConfig",
    "AdapterConfig",
    "BaseModelConfig",
    "BlockConfig",
    "ConfigError",
    "DatasetConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "OutputConfig",
    "Part",
    "Problem",
    "RunConfig",
    "SamplesConfig",
    "TrainConfig",
    "config_to_toml",
    "layer_config",
    "list_presets",
    "parse_assignment",
    "read_config",
    "read_preset",
    "schedule_factor",
]
