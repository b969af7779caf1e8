"""The learning rates over a run, as they follow from its config, without running it."""

import re
from dataclasses import dataclass

from trainer.config.adapter import AdapterConfig
from trainer.config.optimizer import OptimizerConfig, Part
from trainer.config.run import RunConfig
from trainer.config.schedules import schedule_factor

_POINTS = 240
_POINTS_OF_A_FALL = 8  # of cosine_restarts, so that a hundred of them still look like falls


@dataclass(frozen=True)
class RateLine:
    """The learning rate of some parts of the model.

    Attributes:
        parts: "unet", "conv", "text" or "word"; those with the same rate share a line.
        full: The rate that the schedule multiplies.
        ratio: How many times faster than `full` these weights learn: LoRA+'s for those that start
            at zero, else 1.
        rates: One per step of the view.
    """

    parts: tuple[str, ...]
    full: float
    ratio: float
    rates: tuple[float, ...]


@dataclass(frozen=True)
class RatePlan:
    """The learning rates of all parts.

    Attributes:
        steps: Number of steps of the run.
        at: The steps that the lines have points at, the first being 1.
        lines: The parts' rates; with LoRA+ each is followed by a faster one.
        is_factor: The optimiser finds the rate itself, and multiplies it by these.
    """

    steps: int
    at: tuple[int, ...]
    lines: tuple[RateLine, ...]
    is_factor: bool


def plan_rates(config: RunConfig) -> RatePlan:
    """Returns the learning rates that a run with these settings will be given."""
    optimizer, steps = config.optimizer, config.train.steps
    at = tuple(_choose_steps(optimizer, steps))
    factors = [schedule_factor(optimizer, step - 1, steps) for step in at]
    lines = []
    for full, parts in _join_equal(config).items():
        # A textual-inversion embedding has no weights that start at zero.
        factored = tuple(part for part in parts if part != "word")
        for ratio, those in {1.0: parts, optimizer.lora_plus_ratio: factored}.items():
            rates = tuple(full * ratio * factor for factor in factors)
            if those:
                lines.append(RateLine(those, full, ratio, rates))
    return RatePlan(steps, at, tuple(lines), optimizer.kind == "prodigy")


def _join_equal(config: RunConfig) -> dict[float, tuple[str, ...]]:
    """Returns the trained parts by their learning rate."""
    rates = config.optimizer.learning_rates
    joined: dict[float, tuple[str, ...]] = {}
    for part in list_parts(config.adapter):
        joined[rates[part]] = (*joined.get(rates[part], ()), part)
    return joined


def list_parts(adapter: AdapterConfig) -> list[Part]:
    """Returns the parts that get an adapter; of a file that is continued all that it may hold."""
    given = [block.pattern for block in adapter.blocks if block.rank > 0]
    convolutions = adapter.conv_rank or _may_fit(given, "unet.")
    text = adapter.text_rank or _may_fit(given, "text_encoder")
    trained: dict[Part, object] = {
        "unet": True,
        "conv": adapter.start_from or (adapter.layers == "all" and convolutions),
        "text": adapter.start_from or (adapter.layers in {"all", "attention"} and text),
        "word": adapter.word_vectors,
    }
    return [part for part, is_trained in trained.items() if is_trained]


def _may_fit(patterns: list[str], start: str) -> bool:
    """Returns whether one of the patterns could match a name that starts like this."""
    fixed = [re.split(r"[*?[]", pattern)[0] for pattern in patterns]
    return any(start.startswith(each) or each.startswith(start) for each in fixed)


def _choose_steps(optimizer: OptimizerConfig, steps: int) -> list[int]:
    """Returns the steps to plot: evenly, and on both sides of each corner and each jump."""
    falls = optimizer.restarts if optimizer.schedule == "cosine_restarts" else 1
    count = min(steps, _POINTS + _POINTS_OF_A_FALL * (falls - 1))
    chosen = {1 + round(index * (steps - 1) / max(1, count - 1)) for index in range(count)}
    warm, rest = optimizer.warmup_steps, steps - optimizer.warmup_steps
    corners = [warm + rest * number / falls for number in range(falls)]
    if optimizer.schedule == "stable_decay":
        corners.append(steps - rest * optimizer.decay_share)
    for corner in corners:
        chosen |= {int(corner) + offset for offset in (0, 1, 2)}
    return sorted(step for step in chosen if 1 <= step <= steps)
