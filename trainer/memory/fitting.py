"""A warning where a run does not fit into the free memory."""

import logging
from collections.abc import Sequence
from pathlib import Path

from datasets_tools.examples import Example
from trainer.config import RunConfig
from trainer.memory.estimate import EstimateError, estimate_memory, read_free_bytes

_log = logging.getLogger(__name__)


def warn_of_shortage(
    config: RunConfig, models: Path = Path(), examples: Sequence[Example] | None = None
) -> str:
    """Returns a warning where a run will probably not fit its device, else an empty text.

    Called before the base model is loaded. A failed estimate does not stop a run.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models.
        examples: The dataset; None reads it.

    Raises:
        ConfigError, ModelError, DatasetError, RunError: the run could not start either.
    """
    try:
        estimate = estimate_memory(config, models, examples=examples)
    except EstimateError as error:
        _log.info("%s", error)
        return ""
    free = read_free_bytes(config, estimate.device)
    if estimate.total_bytes <= free:
        return ""
    # Each setting that might fit needs a simulation: too slow at the start of a run.
    return (
        f"This run will need about {format_bytes(estimate.total_bytes)} on the "
        f"{estimate.device.kind} device (its peak: {estimate.peak.name}), and "
        f"{format_bytes(free)} are free. `lorasmith estimate` shows which settings make it fit."
    )


def format_bytes(size: int) -> str:
    """Returns a size in readable units: "7.4 GB", "312 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
