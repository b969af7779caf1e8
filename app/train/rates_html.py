"""The learning rates over a run, drawn before it starts."""

from app.train import rates_text as words
from app.train.rates import RateLine, RateView
from app.ui.markup import Markup, element, join, note
from app.ui.plots import COLOURS, Axis, Line, draw_axes, draw_chart, draw_legend, draw_lines

_HEIGHT = 120
_DASHES = "6 5"
_PART_COLOURS = dict(zip(words.PARTS, COLOURS, strict=True))


def make_rates(view: RateView) -> Markup:
    """Returns the curves with their legend and what is to be known of them."""
    names = [words.line(line.parts, line.full, line.ratio) for line in view.lines]
    looks = [_choose_look(line) for line in view.lines]
    entries = [(colour, dashes, name) for (colour, dashes), name in zip(looks, names, strict=True)]
    return element(
        "figure",
        element("figcaption", words.HEADING, style="font-weight: 600;"),
        draw_rates(view),
        draw_legend(entries),
        *(element("p", told, class_="quiet") for told in view.notes),
        style="margin: .25rem 0;",
        data_state="drawn",
    )


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
    marks = [(share, words.show_rate(share * scale)) for share in (0.0, 0.5, 1.0)]
    marked = sorted({1, (view.steps + 1) // 2, view.steps})
    steps = Axis(words.STEPS_AXIS, [((step - 1) / last, f"{step}") for step in marked])
    up = Axis(words.FACTOR_AXIS if view.is_factor else words.RATE_AXIS, marks)
    axes = draw_axes(steps, up, 0, _HEIGHT)
    return draw_chart(_tell(view), _HEIGHT, join(axes, draw_lines(lines, 0, _HEIGHT)))


def make_no_rates(problem: str) -> Markup:
    """Returns why there is no curve: settings that cannot be together, or half a number."""
    return note(words.no_rates(problem), "warning")


def _choose_look(line: RateLine) -> tuple[str, str]:
    return _PART_COLOURS[line.parts[0]], _DASHES if line.ratio != 1 else ""


def _tell(view: RateView) -> str:
    told = [
        (words.line(line.parts, line.full, line.ratio), line.rates[0], max(line.rates),
         line.rates[-1])
        for line in view.lines
    ]  # fmt: skip
    return words.title(view.steps, told)
