"""The factor on the learning rates over a run, as functions of progress in 0 .. 1."""

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def schedule_factor(kind: str, step: int, steps: int, warmup_steps: int) -> float:
    """Returns the factor for the update that leads from `step` to `step + 1`.

    Args:
        kind: A key of `SCHEDULES`.
        step: Updates done so far, 0 .. steps - 1.
        steps: Updates of the whole run.
        warmup_steps: The factor rises linearly from 1 / (warmup_steps + 1) before it follows the
            schedule, so that the very first update is not lost.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    length = max(1, steps - warmup_steps)
    return SCHEDULES[kind](min(1.0, (step - warmup_steps) / length))
