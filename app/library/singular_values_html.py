"""How strong the layers of a LoRA file are, and what smaller ranks would keep, as charts."""

import math
from collections.abc import Sequence
from itertools import groupby

from app.core.jobs import Job
from app.core.lora_files import FileView
from app.library import text
from app.library.singular_values import Bar, SingularValues, view_singular_values
from app.ui.markup import Markup, element, join, note
from app.ui.plots import (
    COLOURS,
    WIDTH,
    Axis,
    Line,
    draw_axes,
    draw_chart,
    draw_legend,
    draw_lines,
    stretch,
)

_NORM_HEIGHT, _RANK_HEIGHT, _BETWEEN = 110, 56, 38
_ENERGY_HEIGHT = 110
_GAP = 0.2  # of a bar's room
_DASHES = "6 5"


def make_singular_values(file: FileView, job: Job) -> Markup:
    """Returns the charts of a file's layers, or how far the measuring is."""
    if job.state == "none":
        return Markup("")
    heading = element("h4", text.LAYERS_HEADING)
    if job.state == "running":
        message = element("p", text.MEASURING, class_="quiet", role="status", data_state="running")
        return join(heading, message)
    found = view_singular_values(job)
    if found is None:
        message = note(text.measuring_failed(job.message), "info")
        return join(heading, element("div", message, data_state="failed"))
    grouped = found.layers > len(found.bars)
    about = text.BARS_OF_GROUPS if grouped else text.BARS_OF_LAYERS
    return join(
        heading,
        element("p", about, class_="quiet"),
        draw_bars(found),
        _make_energy(file, found),
    )


def draw_bars(found: SingularValues) -> Markup:
    """Returns a bar per layer or block: above the norm of its change, below the rank it uses."""
    bars = found.bars
    relative = any(bar.relative for bar in bars)
    heights = [bar.relative if relative else bar.norm for bar in bars]
    most = max(heights) or 1.0
    most_rank = max(max(bar.rank, bar.used) for bar in bars) or 1.0
    below = _NORM_HEIGHT + _BETWEEN
    room = WIDTH / len(bars)
    drawn = [
        _draw_bar(bar, (place * room, room), height / most, most_rank)
        for place, (bar, height) in enumerate(zip(bars, heights, strict=True))
    ]
    strongest = bars[heights.index(max(heights))]
    show = text.show_share if relative else text.show_norm
    marks = [(share, show(share * most)) for share in (0.0, 0.5, 1.0)]
    name = text.RELATIVE_AXIS if relative else text.NORM_AXIS
    ranks = Axis(text.RANK_AXIS, [(0.0, "0"), (1.0, f"{most_rank:.3g}")])
    sections = Axis("", [(middle, text.SECTIONS[name]) for name, middle, _ in _list_sections(bars)])
    return draw_chart(
        text.bars_title(found.layers, _tell(strongest)),
        below + _RANK_HEIGHT,
        draw_axes(Axis("", []), Axis(name, marks), 0, _NORM_HEIGHT),
        draw_axes(sections, ranks, below, _RANK_HEIGHT),
        _draw_borders(bars, 0, _NORM_HEIGHT),
        _draw_borders(bars, below, below + _RANK_HEIGHT + 8),
        stretch(*drawn, top=0, height=below + _RANK_HEIGHT),
        below=26,
    )


def draw_energy(found: SingularValues) -> Markup:
    """Returns which share of the change each rank keeps: of the whole file, and at worst."""
    last = math.log2(found.rank) or 1.0
    across = [math.log2(rank) / last for rank, _, _ in found.kept]
    whole = Line([(x, k[1]) for x, k in zip(across, found.kept, strict=True)], COLOURS[0])
    worst = Line([(x, k[2]) for x, k in zip(across, found.kept, strict=True)], COLOURS[1], _DASHES)
    ranks = [(x, str(k[0])) for x, k in zip(across, found.kept, strict=True)]
    if len(ranks) > 2 and ranks[-1][0] - ranks[-2][0] < 0.5 / last:
        del ranks[-2]  # two labels would overlap
    up = Axis(text.ENERGY_AXIS, [(share, text.show_share(share)) for share in (0.0, 0.5, 1.0)])
    return draw_chart(
        text.energy_title(list(found.kept)),
        _ENERGY_HEIGHT,
        draw_axes(Axis(text.KEPT_RANK_AXIS, ranks), up, 0, _ENERGY_HEIGHT),
        draw_lines([whole, worst], 0, _ENERGY_HEIGHT),
        max_width=480,
    )


def _make_energy(file: FileView, found: SingularValues) -> Markup:
    if found.rank == 1:
        return Markup("")
    enough = found.enough
    advice: tuple[str, ...] = (text.no_resize(*found.kept[-2][:2], found.rank),)
    if enough is not None:
        command = element("code", text.resize_command(file.path, enough[0]))
        advice = (text.resize(*enough), command)
    legend = [(COLOURS[0], "", text.WHOLE), (COLOURS[1], _DASHES, text.WORST)]
    return join(
        element("h4", text.ENERGY_HEADING),
        draw_energy(found),
        draw_legend(legend),
        element("p", *advice),
    )


def _draw_bar(bar: Bar, room: tuple[float, float], height: float, most_rank: float) -> Markup:
    """Returns a bar's three rectangles, with its numbers for who points anywhere above or below.

    Args:
        bar: What it is about.
        room: Where it begins, and how wide it may be.
        height: Of its upper part, as a share.
        most_rank: The highest rank of the chart.
    """
    left, width = room
    bottom = _NORM_HEIGHT + _BETWEEN + _RANK_HEIGHT
    rectangles = [(_NORM_HEIGHT, height * _NORM_HEIGHT, 1.0)]
    for rank, opacity in ((bar.rank, 0.35), (bar.used, 1.0)):
        rectangles.append((bottom, rank / most_rank * _RANK_HEIGHT, opacity))
    drawn = [
        element(
            "rect",
            x=f"{left + width * _GAP / 2:.2f}",
            y=f"{foot - tall:.1f}",
            width=f"{width * (1 - _GAP):.2f}",
            height=f"{tall:.1f}",
            fill=COLOURS[0],
            fill_opacity=None if opacity == 1 else opacity,
        )
        for foot, tall, opacity in rectangles
    ]
    anywhere = element(
        "rect", x=f"{left:.2f}", y=0, width=f"{width:.2f}", height=bottom, fill="transparent"
    )
    return element("g", element("title", _tell(bar)), anywhere, *drawn)


def _draw_borders(bars: Sequence[Bar], top: int, bottom: int) -> Markup:
    """Returns a thin line between the parts of the network."""
    lines = [
        element(
            "line",
            x1=f"{end:.2%}",
            x2=f"{end:.2%}",
            y1=top,
            y2=bottom,
            stroke="var(--body-text-color-subdued)",
            stroke_dasharray="2 3",
        )
        for _, _, end in _list_sections(bars)[:-1]
    ]
    return join(*lines)


def _list_sections(bars: Sequence[Bar]) -> list[tuple[str, float, float]]:
    """Returns the parts of the network, where each has its middle and where it ends."""
    found, begin = [], 0
    for section, inside in groupby(bars, key=lambda bar: bar.section):
        end = begin + len(list(inside))
        found.append((section, (begin + end) / 2 / len(bars), end / len(bars)))
        begin = end
    return found


def _tell(bar: Bar) -> str:
    return text.bar(bar.name, bar.layers, bar.norm, bar.relative, bar.used, bar.rank)
