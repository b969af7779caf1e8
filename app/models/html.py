"""The Train tab's pieces of HTML about base models."""

from app.core.base_models import BaseModelView
from app.core.jobs import Job
from app.models import text as words
from app.models.actions import describe_download
from app.ui.markup import Markup, element, make_track, note


def make_model_card(view: BaseModelView | None) -> Markup:
    """Returns what a base model is, or why it cannot be trained."""
    if view is None:
        return element("p", words.NONE_CHOSEN, class_="quiet", data_state="none")
    if view.state in {"unasked", "looking"}:
        return element("p", words.LOOKING, class_="quiet", role="status", data_state="looking")
    if view.state == "refused":
        told = note(words.refused(view.message), "error")
        return element("div", told, data_state="refused")
    pairs = [
        element("div", element("dt", name), element("dd", value)) for name, value in view.facts
    ]
    asked = note(words.ASKED, "warning") if view.asks and not view.answered else ""
    facts = element("dl", *pairs, class_="facts facts-in-a-row")
    return element("div", facts, asked, data_state="known", data_family=view.family)


def make_download(job: Job) -> Markup:
    """Returns how far a download is."""
    line, kind, percent = describe_download(job)
    if not line:
        return Markup("")
    if job.state != "running":
        return element("div", note(line, kind), data_state=job.state)
    return element(
        "div",
        element("p", line, class_="quiet", role="status"),
        make_track(percent, line),
        data_state="running",
    )
