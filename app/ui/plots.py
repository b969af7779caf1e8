"""Small charts as SVG, without a library: axes, lines and bars.

A chart is as wide as its place, and its letters keep their size on a phone: lines and bars lie in
an inner SVG that is stretched, the text outside of it at shares of the width. Colours are middle
tones, which stand out from a light and from a dark page by 3 to 1 and more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.ui.markup import Markup, element, join

COLOURS = ("#3b82f6", "#d97706", "#a855f7", "#16a34a")  # blue, amber, violet, green
WIDTH = 1000  # of the inner SVG, in its own units
LEFT, RIGHT, BELOW = 58, 14, 36  # space for the text, in pixels
_TEXT = "fill: var(--body-text-color); font-size: 12px;"
_QUIET = "fill: var(--body-text-color-subdued); font-size: 12px;"
_GRID = "var(--body-text-color-subdued)"


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        points: Across and up, as shares of the chart's sides.
        colour: Of the line.
        dashes: As SVG has them; "" for an unbroken line.
    """

    points: Sequence[tuple[float, float]]
    colour: str
    dashes: str = ""


@dataclass(frozen=True)
class Axis:
    """What stands beside a side of the chart: a name, and labels at shares of its length."""

    name: str
    ticks: Sequence[tuple[float, str]]


def plot_chart(
    title: str, height: int, *inside: Markup, below: int = BELOW, max_width: int = 720
) -> Markup:
    """Returns the chart, with space for its axes' text around what is inside."""
    box = f"width: calc(100% - {LEFT + RIGHT}px); max-width: {max_width}px; height: {height}px;"
    place = f"display: block; overflow: visible; margin: 24px {RIGHT}px {below}px {LEFT}px;"
    return element("svg", element("title", title), *inside, role="img", style=box + place)


def plot_axes(across: Axis, up: Axis, top: int, height: int) -> Markup:
    """Returns grid, ticks and names; `top` and `height` are the chart's, in pixels."""
    parts = []
    for share, label in up.ticks:
        y = round(top + height * (1 - share), 1)
        parts.append(
            element("line", x1="0", x2="100%", y1=y, y2=y, stroke=_GRID, stroke_opacity=0.3)
        )
        parts.append(element("text", label, x=-8, y=y + 4, text_anchor="end", style=_TEXT))
    parts.append(element("text", up.name, x=-LEFT + 4, y=top - 12, style=_QUIET))
    for share, label in across.ticks:
        parts.append(_write_below(label, share, top + height + 15, _TEXT))
    if across.name:
        parts.append(_write_below(across.name, 0.5, top + height + 31, _QUIET))
    return join(*parts)


def plot_lines(lines: Sequence[Line], top: int, height: int) -> Markup:
    """Returns the lines, stretched over the chart; the first one lies on top."""
    shapes = [
        element(
            "polyline",
            points=" ".join(f"{x * WIDTH:.0f},{(1 - y) * height:.1f}" for x, y in line.points),
            fill="none",
            stroke=line.colour,
            stroke_width=2,
            stroke_dasharray=line.dashes or None,
            stroke_linejoin="round",
            vector_effect="non-scaling-stroke",
        )
        for line in reversed(lines)
    ]
    return stretch(*shapes, top=top, height=height)


def stretch(*shapes: Markup, top: int, height: int) -> Markup:
    """Returns an SVG of the width `WIDTH` that is stretched over the chart's."""
    return element(
        "svg",
        *shapes,
        x="0",
        y=top,
        width="100%",
        height=height,
        viewBox=f"0 0 {WIDTH} {height}",
        preserveAspectRatio="none",
        style="overflow: visible;",
    )


def plot_legend(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """Returns which line is which: colour, dashes and name."""
    style = "list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap;"
    items = [
        element(
            "li",
            _plot_swatch(colour, dashes),
            name,
            style="display: flex; gap: .4rem; align-items: center; margin: 0; font-size: .8rem;",
        )
        for colour, dashes, name in entries
    ]
    return element("ul", *items, style=style + "gap: .1rem 1.2rem;")


def _plot_swatch(colour: str, dashes: str) -> Markup:
    line = element(
        "line", x1=0, x2=28, y1=6, y2=6, stroke=colour, stroke_width=3,
        stroke_dasharray=dashes or None,
    )  # fmt: skip
    return element("svg", line, width=28, height=12, aria_hidden="true", style="flex: none;")


def _write_below(label: str, share: float, y: float, style: str) -> Markup:
    anchor = "start" if share == 0 else "end" if share == 1 else "middle"
    return element("text", label, x=f"{share:.2%}", y=y, text_anchor=anchor, style=style)
