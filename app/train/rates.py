"""The learning rates over a run, as they follow from its settings, and their curves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.workspace import Workspace
from app.train.settings import FORM, read_shared
from app.ui.form import put
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from app.ui.plots import COLOURS, Axis, Line, plot_axes, plot_chart, plot_legend, plot_lines
from trainer.config import (
    AdapterConfig,
    ConfigError,
    OptimizerConfig,
    Part,
    RunConfig,
    layer_config,
    schedule_factor,
)

_HEADING = "Learning rate over the run"
_RATE_AXIS = "learning rate"
_FACTOR_AXIS = "factor"
_STEPS_AXIS = "step"
PARTS = {
    "unet": "UNet",
    "conv": "convolutions",
    "text": "text encoders",
    "word": "learned word",
}
FINDS_RATE = "Prodigy finds the learning rate itself as it trains, and multiplies it by this curve."
HOLDS_RATE = "schedule_free holds the rate and averages the weights instead of letting it fall."
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
_HEIGHT = 120
_DASHES = "6 5"
_PART_COLOURS = dict(zip(PARTS, COLOURS, strict=True))


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
        notes.append(FINDS_RATE)
    if optimizer.kind == "schedule_free":
        notes.append(HOLDS_RATE)
    if optimizer.warmup_steps >= config.train.steps:
        notes.append(_describe_long_warmup(optimizer.warmup_steps, config.train.steps))
    factors = [block.rate for block in config.adapter.blocks if block.rate != 1]
    if factors:
        notes.append(_describe_other_rates(factors))
    return notes


def make_rates(view: RateView) -> Markup:
    """Returns the curves with their legend and what is to be known of them."""
    names = [_describe_line(line.parts, line.full, line.ratio) for line in view.lines]
    looks = [_choose_look(line) for line in view.lines]
    entries = [(colour, dashes, name) for (colour, dashes), name in zip(looks, names, strict=True)]
    return element(
        "figure",
        element("figcaption", _HEADING, style="font-weight: 600;"),
        draw_rates(view),
        plot_legend(entries),
        *(element("p", line, class_="quiet") for line in view.notes),
        style="margin: .25rem 0;",
        data_state="drawn",
    )


def make_rates_of(values: Mapping[str, Any]) -> Markup:
    """Returns the curves for the values of `RATE_SETTINGS`, or why there are none."""
    tree = FORM.to_tree(values)
    # Word vectors ask for a trigger, which is the dataset's; it changes no rate.
    put(tree, "dataset.trigger", "word")
    try:
        return make_rates(view_rates(layer_config(settings=tree)))
    except ConfigError as error:
        return make_no_rates(" ".join(str(problem) for problem in error.problems))


def draw_rates(view: RateView) -> Markup:
    """Returns the curves as one SVG."""
    most = max((max(line.rates) for line in view.lines), default=0.0)
    full = max((line.full * line.ratio for line in view.lines), default=0.0)
    # A run that ends in its warm-up never gets to the full rate.
    scale = (full if most > full / 2 else most) or 1.0
    last = max(view.steps - 1, 1)
    across = [(step - 1) / last for step in view.at]
    lines = []
    for line in view.lines:
        colour, dashes = _choose_look(line)
        points = [(x, rate / scale) for x, rate in zip(across, line.rates, strict=True)]
        if len(points) == 1:
            points.append((1.0, points[0][1]))
        lines.append(Line(points, colour, dashes))
    marks = [(share, _show_rate(share * scale)) for share in (0.0, 0.5, 1.0)]
    marked = sorted({1, (view.steps + 1) // 2, view.steps})
    steps = Axis(_STEPS_AXIS, [((step - 1) / last, f"{step}") for step in marked])
    up = Axis(_FACTOR_AXIS if view.is_factor else _RATE_AXIS, marks)
    axes = plot_axes(steps, up, 0, _HEIGHT)
    return plot_chart(_describe_curves(view), _HEIGHT, join(axes, plot_lines(lines, 0, _HEIGHT)))


def make_no_rates(problem: str) -> Markup:
    """Returns why there is no curve: settings that cannot be together, or half a number."""
    return note(_describe_no_rates(problem), "warning")


def _choose_look(line: RateLine) -> tuple[str, str]:
    return _PART_COLOURS[line.parts[0]], _DASHES if line.ratio != 1 else ""


def _describe_curves(view: RateView) -> str:
    rows = [
        (_describe_line(line.parts, line.full, line.ratio), line.rates[0], max(line.rates),
         line.rates[-1])
        for line in view.lines
    ]  # fmt: skip
    return _describe_lines(view.steps, rows)


def _describe_line(parts: tuple[str, ...], full: float, ratio: float) -> str:
    """Which weights a curve is about, and its full height."""
    named = [PARTS[part] for part in parts]
    label = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    if ratio != 1:
        label += f", weights that start at zero (LoRA+ × {ratio:g})"
    return f"{label}: {_show_rate(full * ratio)}"


def _describe_lines(steps: int, lines: list[tuple[str, float, float, float]]) -> str:
    """The curves in words: name, first rate, highest rate, last rate."""
    sentences = "; ".join(
        f"{name}; it starts at {_show_rate(first)}, is at most {_show_rate(most)} and ends at "
        f"{_show_rate(last)}"
        for name, first, most, last in lines
    )
    return f"{_HEADING} of {steps} steps. {sentences}."


def _show_rate(rate: float) -> str:
    """A learning rate as people write it: 2e-4, 0.05, 1."""
    if rate == 0 or rate >= 0.01:
        return f"{rate:.3g}"
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def _describe_long_warmup(warmup: int, steps: int) -> str:
    """A warm-up that eats the run."""
    return (
        f"The warm-up of {warmup} steps is as long as the run of {steps}: the schedule is never "
        "reached. Lower warmup_steps."
    )


def _describe_other_rates(factors: list[float]) -> str:
    """Layers that learn at a rate of their own."""
    shown = ", ".join(f"{factor:g}" for factor in dict.fromkeys(factors))
    return f"For the layers that adapter.blocks names these are multiplied by {shown}."


def _describe_no_rates(problem: str) -> str:
    """Settings of which no curve can be drawn."""
    return f"No curve of the learning rate yet. {problem}"


def _render_rates(_workspace: Workspace, params: Params) -> Markup:
    values = read_shared(params.get("rates"), RATE_SETTINGS)
    return make_rates_of(values) if values else Markup("")


VIEWS = {"rates": View(_render_rates)}
