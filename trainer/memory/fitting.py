"""Before a run starts: the plan for its memory, and a warning where none makes it fit."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets_tools.examples import Example
from trainer.config import RunConfig
from trainer.memory.estimate import EstimateError, estimate_memory, read_free_bytes
from trainer.memory.planning import MemoryPlan, plan_memory

_log = logging.getLogger(__name__)


def plan_run(
    config: RunConfig, models: Path = Path(), examples: Sequence[Example] | None = None
) -> MemoryPlan | None:
    """Returns the plan for a run on its device; None where its memory cannot be estimated.

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
        return plan_memory(estimate, read_free_bytes(config, estimate.device))
    except EstimateError as error:
        _log.info("%s", error)
        return None


def explain_plan(plan: MemoryPlan) -> str:
    """Returns what a plan sets and why; "" where it sets nothing."""
    if not plan.settings:
        return ""
    return (
        f"This run would need about {format_bytes(plan.needed_bytes)} on the "
        f"{plan.estimate.device.kind} device, and {format_bytes(plan.free_bytes)} are free. So it "
        f"sets {describe_settings(plan.settings)}, with which it needs about "
        f"{format_bytes(plan.estimate.total_bytes)}. {' '.join(plan.costs)}"
    )


def warn_of_shortage(plan: MemoryPlan) -> str:
    """Returns a warning where a run will probably not fit, even with its plan; "" where it will."""
    if plan.fits:
        return ""
    estimate = plan.estimate
    return (
        f"This run will need about {format_bytes(estimate.total_bytes)} on the "
        f"{estimate.device.kind} device (its peak: {estimate.peak.name}), and "
        f"{format_bytes(plan.free_bytes)} are free. `lorasmith estimate` shows which settings make "
        "it fit."
    )


def describe_settings(settings: Mapping[str, bool | int | float | str]) -> str:
    """Returns settings as they stand in a file: "train.micro_batch = 1, …"."""
    return ", ".join(
        f"{path} = {str(value).lower() if isinstance(value, bool) else value}"
        for path, value in settings.items()
    )


def format_bytes(size: int) -> str:
    """Returns a size in readable units: "7.4 GB", "312 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
