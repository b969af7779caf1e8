"""Every knob of a run, declared once.

A knob is a field of a pydantic model: type, default, bounds and one sentence of help. The form in
the app, `--set a.b=value`, the error messages, the reference in `docs/` and the comments in the
saved `config.toml` all derive from that declaration.
"""

from trainer.config.adapter import AdaLoRAConfig, AdapterConfig, BlockConfig
from trainer.config.advice import list_advice
from trainer.config.base_model import BaseModelConfig
from trainer.config.checks import CHECKED_SETTINGS, check_settings
from trainer.config.combine import (
    COMBINE_OPTIONS,
    BakeOptions,
    ExtractOptions,
    MajoritySign,
    MergeOptions,
    RankChoice,
    ResizeOptions,
    ScaleOptions,
    SubtractOptions,
)
from trainer.config.dataset import DatasetConfig
from trainer.config.errors import ConfigError, Problem
from trainer.config.files import (
    change_settings,
    config_to_toml,
    layer_config,
    parse_assignment,
    read_config,
    read_preset,
)
from trainer.config.objective import ObjectiveConfig
from trainer.config.optimizer import SMALLEST_PRODIGY_RATE, OptimizerConfig, Part
from trainer.config.options import (
    Options,
    get_argument_name,
    get_option_name,
    get_used_with,
    list_used,
    make_options,
)
from trainer.config.output import OutputConfig
from trainer.config.presets import (
    Choice,
    compose,
    list_care,
    list_choices,
    list_goals,
    list_kinds,
    list_memories,
    list_presets,
)
from trainer.config.rates import RateLine, RatePlan, list_parts, plan_rates
from trainer.config.run import RunConfig, derive_name
from trainer.config.sample_prompts import SamplePrompt, list_new_prompts, parse_sample_prompt
from trainer.config.samples import MAX_PROMPTS, SamplesConfig
from trainer.config.schedules import SCHEDULES, schedule_factor
from trainer.config.suggest import (
    Guess,
    Suggestion,
    fits_preset,
    guess_kind,
    suggest_preset,
)
from trainer.config.train import TrainConfig

__all__ = [
    "CHECKED_SETTINGS",
    "COMBINE_OPTIONS",
    "MAX_PROMPTS",
    "SCHEDULES",
    "SMALLEST_PRODIGY_RATE",
    "AdaLoRAConfig",
    "AdapterConfig",
    "BakeOptions",
    "BaseModelConfig",
    "BlockConfig",
    "Choice",
    "ConfigError",
    "DatasetConfig",
    "ExtractOptions",
    "Guess",
    "MajoritySign",
    "MergeOptions",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Options",
    "OutputConfig",
    "Part",
    "Problem",
    "RankChoice",
    "RateLine",
    "RatePlan",
    "ResizeOptions",
    "RunConfig",
    "SamplePrompt",
    "SamplesConfig",
    "ScaleOptions",
    "SubtractOptions",
    "Suggestion",
    "TrainConfig",
    "change_settings",
    "check_settings",
    "compose",
    "config_to_toml",
    "derive_name",
    "fits_preset",
    "get_argument_name",
    "get_option_name",
    "get_used_with",
    "guess_kind",
    "layer_config",
    "list_advice",
    "list_care",
    "list_choices",
    "list_goals",
    "list_kinds",
    "list_memories",
    "list_new_prompts",
    "list_parts",
    "list_presets",
    "list_used",
    "make_options",
    "parse_assignment",
    "parse_sample_prompt",
    "plan_rates",
    "read_config",
    "read_preset",
    "schedule_factor",
    "suggest_preset",
]
