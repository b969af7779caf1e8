"""What of a run's settings is a waste, before it starts."""

from collections.abc import Sequence
from pathlib import Path

from datasets_tools.examples import Example
from datasets_tools.groups import describe_share, measure_shares
from trainer.commands.libraries import quiet_libraries
from trainer.commands.start_file import check_start_file
from trainer.config import RunConfig, check_settings
from trainer.data import read_training_examples
from trainer.device_kinds import check_device_settings
from trainer.models import BaseModelInfo, check_config, check_parts
from trainer.runs.base_models import locate_base_model
from trainer.training.advice import list_warnings


def check_run(config: RunConfig, models: Path, examples: Sequence[Example]) -> list[str]:
    """Returns a line for each setting that is a waste; reads the base model's headers only.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, for a hub id.
        examples: The dataset.

    Raises:
        ConfigError: nothing would be learned, or the device does not have a setting.
        ModelError, RunError: the run could not start.
    """
    quiet_libraries()
    check_device_settings(config)
    info = check_config(locate_base_model(config.base_model, models))
    waste = describe_waste(config, examples, info)
    # A run that is resumed has a copy of its own; the file itself may be gone by then.
    if Path(config.adapter.start_from).is_file():
        waste += check_start_file(config, info)
    return waste


def check_before_start(config: RunConfig, models: Path) -> list[str]:
    """Returns what a person should know before a run is created, and refuses what its start would.

    Every tensor of the base model is accounted for, from the headers alone.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, for a hub id.

    Raises:
        ConfigError: nothing would be learned, or the device does not have a setting.
        DatasetError, ModelError, RunError: the run could not start.
    """
    quiet_libraries()
    check_device_settings(config)
    examples = read_training_examples(config.dataset)[0]
    info = check_config(locate_base_model(config.base_model, models))
    waste = [*describe_waste(config, examples, info), *check_start_file(config, info)]
    check_parts(info)
    return [*describe_balance(examples), *waste, *describe_warnings(config, info)]


def describe_balance(examples: Sequence[Example]) -> list[str]:
    """Returns a line for each group of a dataset of several: how often it is shown."""
    shares = measure_shares([(example.group, example.repeats) for example in examples])
    return [f"Dataset: {describe_share(share)}." for share in shares] if len(shares) > 1 else []


def describe_warnings(config: RunConfig, info: BaseModelInfo) -> list[str]:
    """Returns a line for each thing about the base model that a person should know."""
    return [f"Warning: {message}" for message in list_warnings(config, info)]


def describe_waste(
    config: RunConfig, examples: Sequence[Example], info: BaseModelInfo
) -> list[str]:
    """Returns a line for each setting that is a waste, or that leads to a file of little use.

    Args:
        config: The run's settings.
        examples: The dataset.
        info: The base model.

    Raises:
        ConfigError: nothing would be learned.
    """
    sizes = [(example.width, example.height) for example in examples]
    family = info.family if info.is_public else ""
    problems = check_settings(config, sizes, info.default_resolution, family)
    return [f"Warning: {problem}." for problem in problems]
