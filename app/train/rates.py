"""The learning rates over a run, as they follow from its settings."""

import re
from dataclasses import dataclass

from app.train import rates_text as words
from trainer.config import AdapterConfig, OptimizerConfig, Part, RunConfig, schedule_factor

# The settings that the curve depends on.
RATE_SETTINGS = (
    "train.steps",
    "optimizer.kind",
    "optimizer.unet_learning_rate",
    "optimizer.conv_learning_rate",
    "optimizer.text_learning_rate",
    "optimizer.word_learning_rate",
    "optimizer.lora_plus_ratio",
    "optimizer.schedule",
    "optimizer.restarts",
    "optimizer.decay_share",
    "optimizer.warmup_steps",
    "adapter.conv_rank",
    "adapter.text_rank",
    "adapter.layers",
    "adapter.blocks",
    "adapter.word_vectors",
    "adapter.start_from",
)
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
class RateView:
    """All lines, with what a person should know besides.

    Attributes:
        steps: Of the run.
        at: The steps that the lines have points at, the first being 1.
        lines: The parts' rates; with LoRA+ each is followed by a faster one.
        notes: Sentences.
        is_factor: The optimiser finds the rate itself, and multiplies it by these.
    """

    steps: int
    at: tuple[int, ...]
    lines: tuple[RateLine, ...]
    notes: tuple[str, ...]
    is_factor: bool


def view_rates(config: RunConfig) -> RateView:
    """Returns the learning rates that a run with these settings will be given."""
    optimizer, steps = config.optimizer, config.train.steps
    at = tuple(_choose_steps(optimizer, steps))
    factors = [schedule_factor(optimizer, step - 1, steps) for step in at]
    lines = []
    for full, parts in _join_equal(config).items():
        # A learned word has no weights that start at zero.
        factored = tuple(part for part in parts if part != "word")
        for ratio, those in {1.0: parts, optimizer.lora_plus_ratio: factored}.items():
            rates = tuple(full * ratio * factor for factor in factors)
            if those:
                lines.append(RateLine(those, full, ratio, rates))
    is_factor = optimizer.kind == "prodigy"
    return RateView(steps, at, tuple(lines), tuple(_list_notes(config)), is_factor)


def _join_equal(config: RunConfig) -> dict[float, tuple[str, ...]]:
    """Returns the trained parts by their learning rate."""
    rates = config.optimizer.learning_rates
    found: dict[float, tuple[str, ...]] = {}
    for part in list_parts(config.adapter):
        found[rates[part]] = (*found.get(rates[part], ()), part)
    return found


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
    """Tells whether one of the patterns could fit a name that starts so."""
    fixed = [re.split(r"[*?[]", pattern)[0] for pattern in patterns]
    return any(start.startswith(each) or each.startswith(start) for each in fixed)


def _choose_steps(optimizer: OptimizerConfig, steps: int) -> list[int]:
    """Returns the steps to draw: evenly, and on both sides of each corner and each jump."""
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


def _list_notes(config: RunConfig) -> list[str]:
    optimizer, notes = config.optimizer, []
    if optimizer.kind == "prodigy":
        notes.append(words.FOUND)
    if optimizer.kind == "schedule_free":
        notes.append(words.HELD)
    if optimizer.warmup_steps >= config.train.steps:
        notes.append(words.long_warmup(optimizer.warmup_steps, config.train.steps))
    factors = [block.rate for block in config.adapter.blocks if block.rate != 1]
    if factors:
        notes.append(words.other_rates(factors))
    return notes
