"""HTML that is escaped by default.

Every piece of HTML that the app shows is built here and handed to `gr.HTML` as its *value*. The
component's own `html_template` is not used for data: Gradio fills it in with Handlebars and then
evaluates the outcome as a JavaScript template literal, so a caption such as `${alert(1)}` would
run. A value is put in once and not evaluated.
"""

import html

from app.core.text import LOG_HEADING

_VOID = {"img", "br", "hr", "input", "meta"}

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is HTML already; everything else is escaped when it becomes a child."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Attribute) -> Markup:
    """Returns one element. `class_` and `data_key` become `class` and `data-key`.

    An attribute that is None or False is left out; True is written as "true".
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        shown = "true" if value is True else str(value)
        words.append(f'{name.rstrip("_").replace("_", "-")}="{html.escape(shown)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if tag in _VOID else f"{opening}{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Returns the children one after the other, escaped where they are plain text."""
    return Markup(
        "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    )


def note(message: str, kind: str = "info") -> Markup:
    """Returns a sentence in a box that a screen reader reads out: info, good, warning or error."""
    if not message:
        return Markup("")
    role = "alert" if kind == "error" else "status"
    return element("p", message, class_=f"note note-{kind}", role=role)


def make_skeleton(lines: int = 1) -> Markup:
    """Returns grey lines where something is not known yet."""
    line = element("span", "", class_="skeleton", aria_hidden="true")
    return element("div", *[line] * lines, class_="skeletons", data_state="loading")


def make_track(percent: int, line: str) -> Markup:
    """Returns a bar of progress; `line` is what a screen reader reads out."""
    fill = element("div", "", class_="fill", style=f"width:{percent}%")
    return element(
        "div",
        fill,
        class_="track",
        role="progressbar",
        aria_label=line,
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=percent,
    )


def make_log(log: str) -> Markup:
    """Returns the last lines of a log."""
    heading = element("p", LOG_HEADING, class_="quiet")
    box = element("pre", log, class_="log", tabindex=0, aria_label=LOG_HEADING)
    return join(heading, box)
