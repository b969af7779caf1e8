"""The Dataset tab's pieces of HTML."""

from app.core.examples import Tile, image_url, thumbnail_url
from app.core.text import image_count
from app.dataset import text as words
from app.dataset.check import CheckCard
from app.ui.markup import Markup, element, join

_FINDINGS_SHOWN = 6


def make_grid(tiles: list[Tile], key: str) -> Markup:
    """Returns the grid of examples, the one with `key` marked."""
    if not tiles:
        return element("p", words.DATASET_EMPTY, class_="quiet")
    stop = key if any(tile.key == key for tile in tiles) else tiles[0].key
    cells = [
        element(
            "button",
            element("img", src=thumbnail_url(tile.thumbnail), alt="", loading="lazy"),
            element("span", tile.name),
            element("span", tile.caption, title=tile.caption)
            if tile.caption
            else element("span", words.NO_CAPTION, class_="missing"),
            type="button",
            class_="tile",
            data_key=tile.key,
            aria_pressed="true" if tile.key == key else "false",
            tabindex=0 if tile.key == stop else -1,
        )
        for tile in tiles
    ]
    count = element("p", image_count(len(tiles)), class_="quiet")
    group = element("div", *cells, class_="tiles", role="group", aria_label=words.GRID_LABEL)
    return join(count, group)


def make_picture(dataset: str, tile: Tile) -> Markup:
    """Returns an example at full size."""
    picture = element("img", src=image_url(dataset, tile.key), alt=tile.name, class_="large")
    facts = words.image_facts(tile.name, tile.width, tile.height)
    return join(picture, element("p", facts, class_="quiet"))


def make_check(card: CheckCard) -> Markup:
    """Returns the dataset check."""
    lines = [
        element("li", element("b", f"{words.SEVERITIES[severity]}:"), message)
        for severity, message in card.findings
    ]
    first = element("ul", *lines[:_FINDINGS_SHOWN], class_="findings")
    rest = lines[_FINDINGS_SHOWN:]
    more = Markup("")
    if rest:
        summary = element("summary", words.more_findings(len(rest)))
        more = element("details", summary, element("ul", *rest, class_="findings"))
    return element(
        "section",
        element("h3", words.CHECK_HEADING),
        element("p", card.summary, class_=f"note note-{card.kind}"),
        first,
        more,
        aria_label=words.CHECK_HEADING,
    )
