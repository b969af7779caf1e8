"""The factor on the learning rates over a run, as functions of progress in 0 .. 1.

They follow from the config alone, so they are here, where the app can plot the curve before the
start.
"""

import math
from collections.abc import Callable

from trainer.config.optimizer import OptimizerConfig


def stay_constant(progress: float, config: OptimizerConfig) -> float:
    """Returns 1."""
    del progress, config
    return 1.0


def fall_linearly(progress: float, config: OptimizerConfig) -> float:
    """Returns 1 falling to 0 in a line."""
    del config
    return 1.0 - progress


def fall_like_cosine(progress: float, config: OptimizerConfig) -> float:
    """Returns half a cosine wave from 1 to 0 (arXiv:1608.03983, eq. 5, without restarts)."""
    del config
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def restart_cosine(progress: float, config: OptimizerConfig) -> float:
    """Returns several cosine falls, each from 1 again (arXiv:1608.03983, eq. 5)."""
    return fall_like_cosine(progress * config.restarts % 1.0, config)


def fall_like_rex(progress: float, config: OptimizerConfig) -> float:
    """Returns (1 - p) / (1 - p / 2): stays high for long, then falls (arXiv:2107.04197, sec. 4)."""
    del config
    return (1.0 - progress) / (1.0 - 0.5 * progress)


def fall_at_the_end(progress: float, config: OptimizerConfig) -> float:
    """Returns 1 until the last part of the run, then 1 - sqrt of the way through that part.

    Warm-up, stable, decay (Hägele et al. 2024, arXiv:2405.18392, section 3).
    """
    begin = 1.0 - config.decay_share
    return 1.0 if progress <= begin else 1.0 - math.sqrt((progress - begin) / config.decay_share)


SCHEDULES: dict[str, Callable[[float, OptimizerConfig], float]] = {
    "constant": stay_constant,
    "linear": fall_linearly,
    "cosine": fall_like_cosine,
    "cosine_restarts": restart_cosine,
    "rex": fall_like_rex,
    "stable_decay": fall_at_the_end,
}


def schedule_factor(config: OptimizerConfig, step: int, steps: int) -> float:
    """Returns the factor for the update that leads from `step` to `step + 1`.

    During warm-up it rises linearly from 1 / (warmup_steps + 1), so that the very first update is
    not lost; then it follows the schedule.

    Args:
        config: Schedule and warm-up.
        step: Updates done so far, 0 .. steps - 1.
        steps: Updates of the whole run.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return SCHEDULES[config.schedule](progress, config)
