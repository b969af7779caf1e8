"""What of a run's settings is a waste, before it starts."""

from collections.abc import Sequence
from pathlib import Path

from datasets_tools.examples import Example
from trainer.commands.libraries import quiet_libraries
from trainer.config import RunConfig, check_settings
from trainer.data import read_training_examples
from trainer.models import check_config
from trainer.runs.base_models import locate_base_model


def check_run(
    config: RunConfig, models: Path, examples: Sequence[Example] | None = None
) -> list[str]:
    """Returns a line for each setting that is a waste; reads image sizes and headers only.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, for a hub id.
        examples: The dataset; None reads it.

    Raises:
        ConfigError: nothing would be learned.
        DatasetError, ModelError, RunError: the run could not start.
    """
    quiet_libraries()
    if examples is None:
        examples = read_training_examples(config.dataset)[0]
    info = check_config(locate_base_model(config.base_model, models))
    return describe_waste(config, examples, info.default_resolution)


def describe_waste(config: RunConfig, examples: Sequence[Example], resolution: int) -> list[str]:
    """Returns a line for each setting that is a waste.

    Args:
        config: The run's settings.
        examples: The dataset.
        resolution: The base model's own.

    Raises:
        ConfigError: nothing would be learned.
    """
    sizes = [(example.width, example.height) for example in examples]
    return [f"Warning: {problem}." for problem in check_settings(config, sizes, resolution)]
