"""The Dataset tab's pieces of HTML about captions as a whole."""

from app.core.examples import find_suggesting, folder_signature, name_suggesting
from app.core.jobs import stamp_job
from app.core.workspace import Workspace
from app.dataset import text
from app.dataset.images import find_folder
from app.dataset.suggestions import (
    CaptionsView,
    SuggestingView,
    choose_captioner,
    find_captioner,
    view_captions,
    view_suggesting,
)
from app.ui.components import make_button, make_chips
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, make_track, note
from datasets_tools.undo_log import UNDO_FOLDER

_TAGS_SHOWN = 60
_LETTERS_SHOWN = 40
_LONGEST_KEY = 300
_NOTES_SHOWN = 6


def make_suggesting(view: SuggestingView, undo: str) -> Markup:
    """Returns how far a captioner is, or what it did and the button that undoes it.

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
        lines.append(element("li", text.more_findings(rest)))
    notes = element("ul", *lines, class_="findings") if lines else ""
    back = ""
    if undo:
        button = make_button(text.undo_change(undo), key="undo", class_="press press-second")
        back = element("p", button)
    return element("div", note(view.line, view.kind), notes, back, data_state=view.state)


def make_tags(captions: CaptionsView) -> Markup:
    """Returns the tags as buttons, each with the number of captions that have it."""
    problem = note(captions.problem, "error")
    if not captions.tags:
        return join(problem, element("p", text.NO_TAGS, class_="quiet"))
    rest = len(captions.tags) - _TAGS_SHOWN
    chips = make_chips(
        text.TAGS_LABEL,
        [_make_chip(tag, count) for tag, count in captions.tags[:_TAGS_SHOWN]],
        text.more_tags(rest) if rest > 0 else "",
    )
    count = text.tag_count(len(captions.tags), captions.images - captions.uncaptioned)
    return join(problem, element("p", count, class_="quiet"), chips)


def _make_chip(tag: str, count: int) -> Markup:
    shown = tag if len(tag) <= _LETTERS_SHOWN else f"{tag[: _LETTERS_SHOWN - 1]}…"
    content = join(shown, " ", element("b", str(count)))
    if len(tag) > _LONGEST_KEY:  # a whole story, which nobody adds to the other captions
        return element("span", content, class_="chip")
    return make_button(content, key=tag, class_="chip", title=tag)


def _view_captions(workspace: Workspace, params: Params) -> CaptionsView:
    folder = find_folder(workspace, params.get("dataset"))
    return view_captions(folder) if folder else CaptionsView()


def _view_suggesting(workspace: Workspace, params: Params) -> SuggestingView:
    return view_suggesting(find_suggesting(workspace, params.get("dataset", "")))


def _render_buttons(workspace: Workspace, params: Params) -> Markup:
    """Returns the button that has captions suggested, and the one that cancels that."""
    captioner = find_captioner(workspace, params.get("captioner"))
    busy = _view_suggesting(workspace, params).state == "running"
    label = text.SUGGEST
    if captioner is not None and captioner.download:
        label = text.suggest_after_download(captioner.download)
    ready = captioner is not None and not busy and _view_captions(workspace, params).images
    kind = "button button-primary"
    start = make_button(
        label, key="suggest", class_=kind, element_id="captions-suggest", disabled=not ready
    )
    cancel = make_button(text.CANCEL, key="cancel", class_="button", element_id="captions-cancel")
    return element("div", start, cancel if busy else "", class_="buttons")


def _render_about(workspace: Workspace, params: Params) -> Markup:
    """Returns what a captioner is good for, and how many captions are missing."""
    captioner = find_captioner(workspace, params.get("captioner"))
    captions = _view_captions(workspace, params)
    about = join()
    if captioner is not None:
        line = element("p", captioner.about, class_="quiet")
        about = join(line, note(captioner.problem, "warning"))
    count = text.NO_IMAGES
    if captions.images:
        count = text.missing_captions(captions.uncaptioned, captions.images)
    # The one to begin with, which the page's script puts into the empty box.
    first = None if params.get("captioner") else choose_captioner(workspace)
    return element("div", about, element("p", count, class_="quiet"), data_captioner=first)


def _render_suggesting(workspace: Workspace, params: Params) -> Markup:
    return make_suggesting(
        _view_suggesting(workspace, params), _view_captions(workspace, params).undo
    )


def _render_undo(workspace: Workspace, params: Params) -> Markup:
    """Returns the button that undoes the last change of many captions."""
    busy = _view_suggesting(workspace, params).state == "running"
    undo = "" if busy else _view_captions(workspace, params).undo
    label = text.undo_change(undo) if undo else text.NOTHING_TO_UNDO
    return make_button(label, key="undo", element_id="captions-undo", disabled=not undo)


def _render_tags(workspace: Workspace, params: Params) -> Markup:
    return make_tags(_view_captions(workspace, params))


def _read_version(workspace: Workspace, params: Params) -> object:
    """Changes with the captions, with what can be undone, and with what a captioner does."""
    folder = find_folder(workspace, params.get("dataset"))
    if folder is None:
        return None
    try:
        facts = [
            (path.name, path.stat().st_size) for path in sorted((folder / UNDO_FOLDER).iterdir())
        ]
    except OSError:
        facts = []
    job = stamp_job(workspace, name_suggesting(params.get("dataset", "")))
    return folder_signature(folder), facts, job


def _read_captioner_version(workspace: Workspace, params: Params) -> object:
    version = _read_version(workspace, params)
    return version, find_captioner(workspace, params.get("captioner"))


VIEWS = {
    "captions-buttons": View(_render_buttons, _read_captioner_version),
    "captions-about": View(_render_about, _read_captioner_version),
    "captions-progress": View(_render_suggesting, _read_version),
    "captions-undo": View(_render_undo, _read_version),
    "captions-tags": View(_render_tags, _read_version),
}
