"""The Preview tab's pieces of HTML."""

from collections.abc import Mapping
from pathlib import Path

from app.core.adapters import Generation, preview_url
from app.preview import text as words
from app.ui.markup import Markup, element, join, make_log, note


def describe_generation(drawing: Generation | None) -> tuple[str, str]:
    """Returns the status line and its kind (info, good, warning or error)."""
    if drawing is None:
        return "", "info"
    result = drawing.result
    if result.state == "done":
        return words.drawn(result.seconds, result.base_loads), "good"
    if result.state == "failed":
        return words.drawing_failed(result.message), "error"
    if not drawing.worker:
        return words.WORKER_GONE, "error"
    return words.DRAWING, "info"


def make_status(drawing: Generation | None, *, training: bool) -> Markup:
    """Returns the status line, with the log of a worker that died."""
    message, kind = describe_generation(drawing)
    if drawing is None:
        return Markup("")
    state = "gone" if message == words.WORKER_GONE else drawing.result.state
    parts = [note(message, kind)]
    if training and drawing.result.state == "waiting":
        parts.append(element("p", words.TRAINING_MEANWHILE, class_="quiet"))
    if kind == "error" and drawing.log:
        parts.append(make_log(drawing.log))
    return element("div", *parts, data_state=state, data_request=drawing.id)


def make_pictures(drawing: Generation | None, names: Mapping[str, str]) -> Markup:
    """Returns the pictures without and with the adapters, side by side.

    Args:
        drawing: What was drawn.
        names: What the adapters are called, by path.
    """
    if drawing is None or drawing.result.state != "done":
        return Markup("")
    asked = drawing.request
    chosen = asked.adapters if asked else ()
    weights = [(names.get(one.path, Path(one.path).stem), one.weight) for one in chosen]
    captions = {
        "without": words.WITHOUT,
        "with": words.with_weights(weights) if weights else words.WITH,
    }
    figures = [
        element(
            "figure",
            element("img", src=preview_url(drawing.id, side), alt=caption),
            element("figcaption", caption),
        )
        for side, caption in captions.items()
    ]
    line = words.asked(asked.prompt, asked.seed) if asked else ""
    return join(
        element("p", line, class_="quiet"),
        element("div", *figures, class_="pictures", data_request=drawing.id),
    )
