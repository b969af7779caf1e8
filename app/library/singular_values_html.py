"""How strong the layers of a LoRA file are, and what smaller ranks would keep, as charts."""

import math
from collections.abc import Sequence
from itertools import groupby

from app.core.jobs import Job
from app.core.lora_files import FileView
from app.library import text
from app.library.singular_values import Bar, SingularValues, view_singular_values
from app.ui.components import make_failure, make_progress
from app.ui.markup import Attribute, Markup, element, join
from app.ui.plots import (
    COLOURS,
    WIDTH,
    Axis,
    Line,
    plot_axes,
    plot_chart,
    plot_legend,
    plot_lines,
    stretch,
)

_NORM_HEIGHT, _RANK_HEIGHT, _BETWEEN = 110, 56, 38
_ENERGY_HEIGHT = 110
_GAP = 0.2  # between bars, as a share of a bar's space
_DASHES = "6 5"


def make_singular_values(file: FileView, job: Job) -> Markup:
    """Returns the charts of a file's layers, or how far the measuring is."""
    if job.state == "none":
        return Markup("")
    heading = element("h4", text.LAYERS_HEADING)
    if job.state == "running":
        return join(heading, make_progress(text.MEASURING))
    values = view_singular_values(job)
    if values is None:
        return join(heading, make_failure(f"{text.NO_LAYERS} {job.message}", "info"))
    grouped = values.layers > len(values.bars)
    about = text.BARS_OF_GROUPS if grouped else text.BARS_OF_LAYERS
    return join(
        heading, element("p", about, class_="quiet"), plot_bars(values), _make_energy(file, values)
    )


def plot_bars(values: SingularValues) -> Markup:
    """Returns a bar per layer or block: above the norm of its change, below the rank it uses."""
    bars = values.bars
    relative = any(bar.relative for bar in bars)
    heights = [bar.relative if relative else bar.norm for bar in bars]
    most = max(heights) or 1.0
    most_rank = max(max(bar.rank, bar.used) for bar in bars) or 1.0
    below = _NORM_HEIGHT + _BETWEEN
    space = WIDTH / len(bars)
    rectangles = [
        _plot_bar(bar, (place * space, space), height / most, most_rank)
        for place, (bar, height) in enumerate(zip(bars, heights, strict=True))
    ]
    strongest = bars[heights.index(max(heights))]
    show = text.show_share if relative else text.show_norm
    ticks = [(share, show(share * most)) for share in (0.0, 0.5, 1.0)]
    name = text.RELATIVE_AXIS if relative else text.NORM_AXIS
    ranks = Axis(text.RANK_AXIS, [(0.0, "0"), (1.0, f"{most_rank:.3g}")])
    sections = Axis("", [(middle, text.SECTIONS[name]) for name, middle, _ in _list_sections(bars)])
    return plot_chart(
        text.bars_title(values.layers, _describe_bar(strongest)),
        below + _RANK_HEIGHT,
        plot_axes(Axis("", []), Axis(name, ticks), 0, _NORM_HEIGHT),
        plot_axes(sections, ranks, below, _RANK_HEIGHT),
        _plot_borders(bars, 0, _NORM_HEIGHT),
        _plot_borders(bars, below, below + _RANK_HEIGHT + 8),
        stretch(*rectangles, top=0, height=below + _RANK_HEIGHT),
        below=26,
    )


def plot_energy(values: SingularValues) -> Markup:
    """Returns which share of the change each rank keeps: of the whole file, and at worst."""
    last = math.log2(values.rank) or 1.0
    ranks, whole, worst = zip(*values.shares, strict=True)
    across = [math.log2(rank) / last for rank in ranks]
    lines = [
        Line(list(zip(across, whole, strict=True)), COLOURS[0]),
        Line(list(zip(across, worst, strict=True)), COLOURS[1], _DASHES),
    ]
    labels = [(x, str(rank)) for x, rank in zip(across, ranks, strict=True)]
    if len(labels) > 2 and labels[-1][0] - labels[-2][0] < 0.5 / last:
        del labels[-2]  # two labels would overlap
    up = Axis(text.ENERGY_AXIS, [(share, text.show_share(share)) for share in (0.0, 0.5, 1.0)])
    return plot_chart(
        text.energy_title(list(values.shares)),
        _ENERGY_HEIGHT,
        plot_axes(Axis(text.RESIZED_AXIS, labels), up, 0, _ENERGY_HEIGHT),
        plot_lines(lines, 0, _ENERGY_HEIGHT),
        max_width=480,
    )


def _make_energy(file: FileView, values: SingularValues) -> Markup:
    if values.rank == 1:
        return Markup("")
    enough = values.enough
    advice: tuple[str, ...] = (text.no_resize(*values.shares[-2][:2], values.rank),)
    if enough is not None:
        command = element("code", text.resize_command(file.path, enough[0]))
        advice = (text.resize(*enough), command)
    legend = [(COLOURS[0], "", text.WHOLE), (COLOURS[1], _DASHES, text.WORST)]
    return join(
        element("h4", text.ENERGY_HEADING),
        plot_energy(values),
        plot_legend(legend),
        element("p", *advice),
    )


def _plot_bar(bar: Bar, space: tuple[float, float], height: float, most_rank: float) -> Markup:
    """Returns a bar's three rectangles, with its numbers for who points anywhere above or below.

    Args:
        bar: What it is about.
        space: Where it begins, and how wide it may be.
        height: Of its upper part, as a share.
        most_rank: The highest rank of the chart.
    """
    left, width = space
    bottom = _NORM_HEIGHT + _BETWEEN + _RANK_HEIGHT
    rectangles = [_plot_rectangle(left, width, 0, bottom, fill="transparent")]
    for foot, tall, opacity in (
        (_NORM_HEIGHT, height * _NORM_HEIGHT, None),
        (bottom, bar.rank / most_rank * _RANK_HEIGHT, 0.35),
        (bottom, bar.used / most_rank * _RANK_HEIGHT, None),
    ):
        inset, inner = left + width * _GAP / 2, width * (1 - _GAP)
        look: dict[str, Attribute] = {"fill": COLOURS[0], "fill_opacity": opacity}
        rectangles.append(_plot_rectangle(inset, inner, foot - tall, tall, **look))
    return element("g", element("title", _describe_bar(bar)), *rectangles)


def _plot_rectangle(
    left: float, width: float, top: float, height: float, **look: Attribute
) -> Markup:
    box = {"x": f"{left:.2f}", "y": f"{top:.1f}"}
    return element("rect", **box, width=f"{width:.2f}", height=f"{height:.1f}", **look)


def _plot_borders(bars: Sequence[Bar], top: int, bottom: int) -> Markup:
    """Returns a thin line between the parts of the network."""
    lines = [
        element(
            "line", x1=f"{end:.2%}", x2=f"{end:.2%}", y1=top, y2=bottom, stroke_dasharray="2 3",
            stroke="var(--body-text-color-subdued)",
        )
        for _, _, end in _list_sections(bars)[:-1]
    ]  # fmt: skip
    return join(*lines)


def _list_sections(bars: Sequence[Bar]) -> list[tuple[str, float, float]]:
    """Returns the parts of the network, where each has its middle and where it ends."""
    sections, begin = [], 0
    for section, inside in groupby(bars, key=lambda bar: bar.section):
        end = begin + len(list(inside))
        sections.append((section, (begin + end) / 2 / len(bars), end / len(bars)))
        begin = end
    return sections


def _describe_bar(bar: Bar) -> str:
    return text.bar(bar.name, bar.layers, bar.norm, bar.relative, bar.used, bar.rank)
