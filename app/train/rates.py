"""The curves of the learning rates over a run, and what is to be known of them."""

from collections.abc import Mapping
from typing import Any

from app.core.workspace import Workspace
from app.train.settings import FORM, read_shared
from app.ui.form import put
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from app.ui.plots import COLOURS, Axis, Line, plot_axes, plot_chart, plot_legend, plot_lines
from trainer.config import ConfigError, RateLine, RatePlan, RunConfig, layer_config, plan_rates

_HEADING = "Learning rate over the run"
_RATE_AXIS = "learning rate"
_FACTOR_AXIS = "factor"
_STEPS_AXIS = "step"
PARTS = {
    "unet": "UNet",
    "conv": "convolutions",
    "text": "text encoders",
    "word": "textual-inversion embedding",
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
_HEIGHT = 120
_DASHES = "6 5"
_PART_COLOURS = dict(zip(PARTS, COLOURS, strict=True))


def _list_notes(config: RunConfig) -> list[str]:
    optimizer, notes = config.optimizer, []
    if optimizer.kind == "prodigy":
        notes.append(FINDS_RATE)
    if optimizer.kind == "schedule_free":
        notes.append(HOLDS_RATE)
    factors = [block.rate for block in config.adapter.blocks if block.rate != 1]
    if factors:
        shown = ", ".join(f"{factor:g}" for factor in dict.fromkeys(factors))
        notes.append(f"For the layers that adapter.blocks names these are multiplied by {shown}.")
    return notes


def make_rates(config: RunConfig) -> Markup:
    """Returns the curves with their legend and what is to be known of them."""
    plan = plan_rates(config)
    names = [_describe_line(line) for line in plan.lines]
    looks = [_choose_look(line) for line in plan.lines]
    entries = [(colour, dashes, name) for (colour, dashes), name in zip(looks, names, strict=True)]
    return element(
        "figure",
        element("figcaption", _HEADING, style="font-weight: 600;"),
        plot_rates(plan),
        plot_legend(entries),
        *(element("p", line, class_="quiet") for line in _list_notes(config)),
        style="margin: .25rem 0;",
        data_state="drawn",
    )


def make_rates_of(values: Mapping[str, Any]) -> Markup:
    """Returns the curves for the values of `RATE_SETTINGS`, or why there are none."""
    tree = FORM.to_tree(values)
    # Word vectors ask for a trigger, which is the dataset's; it changes no rate.
    put(tree, "dataset.trigger", "word")
    try:
        return make_rates(layer_config(settings=tree))
    except ConfigError as error:
        return make_no_rates(" ".join(str(problem) for problem in error.problems))


def plot_rates(plan: RatePlan) -> Markup:
    """Returns the curves as one SVG."""
    most = max((max(line.rates) for line in plan.lines), default=0.0)
    full = max((line.full * line.ratio for line in plan.lines), default=0.0)
    # A run that ends in its warm-up never gets to the full rate.
    scale = (full if most > full / 2 else most) or 1.0
    last = max(plan.steps - 1, 1)
    across = [(step - 1) / last for step in plan.at]
    lines = []
    for line in plan.lines:
        colour, dashes = _choose_look(line)
        points = [(x, rate / scale) for x, rate in zip(across, line.rates, strict=True)]
        if len(points) == 1:
            points.append((1.0, points[0][1]))
        lines.append(Line(points, colour, dashes))
    ticks = [(share, _show_rate(share * scale)) for share in (0.0, 0.5, 1.0)]
    labelled = sorted({1, (plan.steps + 1) // 2, plan.steps})
    steps = Axis(_STEPS_AXIS, [((step - 1) / last, f"{step}") for step in labelled])
    up = Axis(_FACTOR_AXIS if plan.is_factor else _RATE_AXIS, ticks)
    axes = plot_axes(steps, up, 0, _HEIGHT)
    return plot_chart(_describe_curves(plan), _HEIGHT, join(axes, plot_lines(lines, 0, _HEIGHT)))


def make_no_rates(problem: str) -> Markup:
    """Returns why there is no curve: settings that cannot be together, or half a number."""
    return note(f"No curve of the learning rate yet. {problem}", "warning")


def _choose_look(line: RateLine) -> tuple[str, str]:
    return _PART_COLOURS[line.parts[0]], _DASHES if line.ratio != 1 else ""


def _describe_curves(view: RatePlan) -> str:
    """Returns the curves in a sentence: first rate, highest rate, last rate."""
    sentences = "; ".join(
        f"{_describe_line(line)}; it starts at {_show_rate(line.rates[0])}, is at most "
        f"{_show_rate(max(line.rates))} and ends at {_show_rate(line.rates[-1])}"
        for line in view.lines
    )
    return f"{_HEADING} of {view.steps} steps. {sentences}."


def _describe_line(line: RateLine) -> str:
    """Returns which weights a curve is about, and its full height."""
    names = [PARTS[part] for part in line.parts]
    label = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if line.ratio != 1:
        label += f", weights that start at zero (LoRA+ × {line.ratio:g})"
    return f"{label}: {_show_rate(line.full * line.ratio)}"


def _show_rate(rate: float) -> str:
    """A learning rate as people write it: 2e-4, 0.05, 1."""
    if rate == 0 or rate >= 0.01:
        return f"{rate:.3g}"
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def _render_rates(_workspace: Workspace, params: Params) -> Markup:
    values = read_shared(params.get("rates"), RATE_SETTINGS)
    return make_rates_of(values) if values else Markup("")


VIEWS = {"rates": View(_render_rates)}
