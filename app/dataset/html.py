"""The Dataset tab's pieces of HTML about images; `VIEWS` lists the tab's fragments."""

from collections.abc import Mapping

from app.core.examples import (
    Tile,
    find_example,
    folder_signature,
    has_trash,
    thumbnail_url,
    view_tiles,
)
from app.core.text import image_count
from app.core.workspace import Workspace
from app.dataset import captions_html, check_html, checking, folders, text
from app.dataset.images import find_folder
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Attribute, Markup, element, join

_BADGES_SHOWN = 2


def make_grid(dataset: str, tiles: list[Tile], badges: Mapping[str, list[str]]) -> Markup:
    """Returns the grid of examples. Which one is chosen is the browser's own business.

    Args:
        dataset: Its name.
        tiles: The examples.
        badges: Titles of what was found about an image, by its key.
    """
    if not tiles:
        return element("p", text.DATASET_EMPTY, class_="quiet", data_of=dataset)
    cells = [
        make_button(
            element("img", src=thumbnail_url(dataset, tile.thumbnail), alt="", loading="lazy"),
            _make_badges(badges.get(tile.key, [])),
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


def _make_badges(titles: list[str]) -> Markup:
    """Returns the first titles, and all of them for who points at them."""
    if not titles:
        return Markup("")
    more = len(titles) - _BADGES_SHOWN
    shown = [element("i", title) for title in titles[:_BADGES_SHOWN]]
    rest = element("i", f"+{more}") if more > 0 else ""
    return element("span", *shown, rest, class_="badges", title=", ".join(titles))


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
    dataset = params.get("dataset", "")
    if folder is None:
        return make_grid(dataset, [], {})
    tiles = view_tiles(folder)
    badges: dict[str, list[str]] = {}
    if tiles:
        options = checking.read_options(workspace, folder, params)
        badges = checking.list_badges(checking.find_report(workspace, folder, options))
    return make_grid(dataset, tiles, badges)


def _read_signature(workspace: Workspace, params: Params) -> object:
    folder = find_folder(workspace, params.get("dataset"))
    return folder_signature(folder) if folder else None


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


VIEWS = check_html.wait_for_images(
    {
        "dataset-grid": View(_render_grid, check_html.read_check_version),
        "image-buttons": View(_render_image_buttons, _read_buttons_version),
        **folders.VIEWS,
        **check_html.VIEWS,
        **captions_html.VIEWS,
    },
    progress="dataset-grid",
)
