"""The Preview tab's pieces of HTML."""

from app.addresses import preview_url
from app.markup import Markup, element, join, note
from app.parts.train import make_log
from app.text import preview as words
from app.views.preview import Drawing, describe_drawing


def make_status(drawing: Drawing | None, *, training: bool) -> Markup:
    """Returns the status line, with the log of a worker that died."""
    message, kind = describe_drawing(drawing)
    if drawing is None:
        return Markup("")
    state = "gone" if message == words.WORKER_GONE else drawing.result.state
    parts = [note(message, kind)]
    if training and drawing.result.state == "waiting":
        parts.append(element("p", words.TRAINING_MEANWHILE, class_="quiet"))
    if kind == "error" and drawing.log:
        parts.append(make_log(drawing.log))
    return element("div", *parts, data_state=state, data_request=drawing.id)


def make_pictures(drawing: Drawing | None) -> Markup:
    """Returns the pictures without and with the adapter, side by side."""
    if drawing is None or drawing.result.state != "done":
        return Markup("")
    asked = drawing.asked
    weight = asked.adapters[0].weight if asked and asked.adapters else None
    captions = {
        "without": words.WITHOUT,
        "with": words.with_weight(weight) if weight is not None else words.WITH,
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
