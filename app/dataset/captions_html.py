"""The Dataset tab's pieces of HTML about captions as a whole."""

from app.dataset import captions_text as words
from app.dataset import text as dataset_text
from app.dataset.suggestions import CaptionerView, CaptionsView, SuggestingView
from app.ui.markup import Markup, element, join, make_track, note

_TAGS_SHOWN = 60
_LETTERS_SHOWN = 40
_LONGEST_KEY = 300
_NOTES_SHOWN = 6


def make_about(captioner: CaptionerView | None, found: CaptionsView) -> Markup:
    """Returns what a captioner is good for, and how many captions are missing."""
    count = words.bare_images(found.bare, found.images) if found.images else words.NO_IMAGES
    missing = element("p", count, class_="quiet")
    if captioner is None:
        return missing
    about = element("p", captioner.about, class_="quiet")
    return join(about, note(captioner.problem, "warning"), missing)


def make_suggesting(view: SuggestingView, undo: str) -> Markup:
    """Returns how far a captioner is, or what it did and the button that takes it back.

    Args:
        view: How far it is.
        undo: The last change of many captions; "" where there is none.
    """
    if view.state == "none":
        return Markup("")
    if view.state == "running":
        line = element("p", view.line, class_="quiet")  # too often another one to be read out
        return element("div", line, make_track(view.percent, view.line), data_state="running")
    lines = [element("li", line) for line in view.notes[:_NOTES_SHOWN]]
    rest = len(view.notes) - _NOTES_SHOWN
    if rest > 0:
        lines.append(element("li", dataset_text.more_findings(rest)))
    notes = element("ul", *lines, class_="findings") if lines else ""
    back = make_take_back(undo) if undo else ""
    return element("div", note(view.line, view.kind), notes, back, data_state=view.state)


def make_take_back(undo: str) -> Markup:
    """Returns the button that takes back the last change of many captions."""
    button = element(
        "button", words.take_back(undo), type="button", class_="press press-second", data_key="undo"
    )
    return element("p", button)


def make_tags(found: CaptionsView) -> Markup:
    """Returns the tags as buttons, each with the number of captions that have it."""
    told = note(found.problem, "error")
    if not found.tags:
        return join(told, element("p", words.NO_TAGS, class_="quiet"))
    chips = [element("li", _make_chip(tag, count)) for tag, count in found.tags[:_TAGS_SHOWN]]
    rest = len(found.tags) - _TAGS_SHOWN
    if rest > 0:
        chips.append(element("li", words.more_tags(rest), class_="quiet"))
    count = words.tag_count(len(found.tags), found.images - found.bare)
    heading = element("p", count, class_="quiet")
    return join(told, heading, element("ul", *chips, class_="chips", aria_label=words.TAGS_LABEL))


def _make_chip(tag: str, count: int) -> Markup:
    shown = tag if len(tag) <= _LETTERS_SHOWN else f"{tag[: _LETTERS_SHOWN - 1]}…"
    inside = join(shown, " ", element("b", str(count)))
    if len(tag) > _LONGEST_KEY:  # a whole story, which nobody adds to the other captions
        return element("span", inside, class_="chip")
    return element("button", inside, type="button", class_="chip", data_key=tag, title=tag)
