"""The Dataset tab's pieces of HTML about images; `VIEWS` lists the tab's fragments."""

from app.core.base_models import view_base_model
from app.core.examples import (
    Tile,
    find_example,
    folder_signature,
    has_trash,
    read_trigger,
    thumbnail_url,
    view_tiles,
)
from app.core.run_contents import read_resolution
from app.core.text import image_count
from app.core.workspace import Workspace
from app.dataset import captions_html, folders, text
from app.dataset.images import CheckCard, find_folder, view_check
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Attribute, Markup, element, join
from datasets_tools.errors import DatasetError

_FINDINGS_SHOWN = 6


def make_grid(dataset: str, tiles: list[Tile]) -> Markup:
    """Returns the grid of examples. Which one is chosen is the browser's own business."""
    if not tiles:
        return element("p", text.DATASET_EMPTY, class_="quiet", data_of=dataset)
    cells = [
        make_button(
            element("img", src=thumbnail_url(dataset, tile.thumbnail), alt="", loading="lazy"),
            element("span", tile.name),
            element("span", tile.caption, title=tile.caption)
            if tile.caption
            else element("span", text.NO_CAPTION, class_="missing"),
            key=tile.key,
            class_="tile",
        )
        for tile in tiles
    ]
    count = element("p", image_count(len(tiles)), class_="quiet")
    group = element(
        "div", *cells, class_="tiles", role="group", aria_label=text.GRID_LABEL, data_of=dataset
    )
    return join(count, group)


def make_check(card: CheckCard) -> Markup:
    """Returns the dataset check."""
    lines = [
        element("li", element("b", f"{text.SEVERITIES[severity]}:"), message)
        for severity, message in card.findings
    ]
    first = element("ul", *lines[:_FINDINGS_SHOWN], class_="findings")
    rest = lines[_FINDINGS_SHOWN:]
    more = Markup("")
    if rest:
        summary = element("summary", text.more_findings(len(rest)))
        more = element("details", summary, element("ul", *rest, class_="findings"))
    return element(
        "section",
        element("h3", text.CHECK_HEADING),
        element("p", card.summary, class_=f"note note-{card.kind}"),
        first,
        more,
        aria_label=text.CHECK_HEADING,
    )


def make_editor() -> Markup:
    """Returns the large image and the box for its caption; `js/captions.js` fills them."""
    image = element("p", text.NO_IMAGE_SELECTED, class_="quiet")
    return element(
        "div",
        element("div", image, id="dataset-image"),
        *_make_box("caption", text.CAPTION, text.CAPTION_INFO, "textarea", rows=3),
        data_captions=True,
        **_EDITOR_SENTENCES,
    )


def make_trigger() -> Markup:
    """Returns the box for the trigger word; `js/captions.js` fills it."""
    attributes: dict[str, Attribute] = {"type": "text", "autocomplete": "off"}
    return element(
        "div",
        *_make_box("trigger", text.TRIGGER, text.TRIGGER_NOTE, "input", **attributes),
        data_trigger=True,
        **_EDITOR_SENTENCES,
    )


def _make_box(
    name: str, title: str, info: str, tag: str, **attributes: Attribute
) -> tuple[Markup, Markup]:
    """Returns a box to type into, and the place below it for notes."""
    label = element(
        "label",
        element("span", title, class_="box-label"),
        element("span", info, class_="box-info"),
        element(tag, disabled=True, **attributes),
    )
    box = element("div", label, id=f"dataset-{name}", class_="box")
    return box, element("div", id=f"dataset-{name}-note")


_EDITOR_SENTENCES = {
    "data_no_image": text.NO_IMAGE_SELECTED,
    "data_waiting": text.NOT_SAVED_YET,
    "data_newer": text.NEWER_TEXT,
    "data_mine": text.YOUR_TEXT,
    "data_use_newer": text.USE_NEWER,
    "data_keep_mine": text.KEEP_MINE,
    "data_dismiss": text.DISMISS,
}


def _render_grid(workspace: Workspace, params: Params) -> Markup:
    folder = find_folder(workspace, params.get("dataset"))
    return make_grid(params.get("dataset", ""), view_tiles(folder) if folder else [])


def _read_signature(workspace: Workspace, params: Params) -> object:
    folder = find_folder(workspace, params.get("dataset"))
    return folder_signature(folder) if folder else None


def _render_check(workspace: Workspace, params: Params) -> Markup:
    folder = find_folder(workspace, params.get("dataset"))
    if folder is None or not view_tiles(folder):
        return Markup("")
    resolution = _find_resolution(workspace, params)
    try:
        return make_check(view_check(folder, read_trigger(folder), resolution))
    except DatasetError:  # the last image has gone in this moment
        return Markup("")


def _read_check_version(workspace: Workspace, params: Params) -> object:
    return _read_signature(workspace, params), _find_resolution(workspace, params)


def _find_resolution(workspace: Workspace, params: Params) -> int:
    name = params.get("base_model", "")
    view = view_base_model(workspace, name)
    path = workspace.list_base_models().get(name)
    return read_resolution(path, view.family if view else "")


def _render_image_buttons(workspace: Workspace, params: Params) -> Markup:
    folder = find_folder(workspace, params.get("dataset"))
    shown = folder is not None and find_example(folder, params.get("image")) is not None
    allowed = {
        "remove": (text.REMOVE, shown),
        "undo": (text.UNDO, folder is not None and has_trash(folder)),
    }
    buttons = [
        make_button(label, key=name, element_id=f"dataset-{name}", disabled=not is_allowed)
        for name, (label, is_allowed) in allowed.items()
    ]
    return element("div", *buttons, class_="buttons")


def _read_buttons_version(workspace: Workspace, params: Params) -> object:
    folder = find_folder(workspace, params.get("dataset"))
    trash = folder is not None and has_trash(folder)
    return _read_signature(workspace, params), params.get("image"), trash


VIEWS = {
    **folders.VIEWS,
    "dataset-grid": View(_render_grid, _read_signature),
    "dataset-check": View(_render_check, _read_check_version),
    "image-buttons": View(_render_image_buttons, _read_buttons_version),
    **captions_html.VIEWS,
}
