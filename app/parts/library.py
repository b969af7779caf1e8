"""The Library tab's pieces of HTML."""

from app.addresses import export_url, sample_url
from app.markup import Markup, element
from app.parts.train import make_log
from app.text import library as words
from app.text import train as train_words
from app.views.library import Card, OpenedRun


def make_cards(cards: list[Card], opened: str) -> Markup:
    """Returns a card per run, the opened one marked."""
    if not cards:
        return element("p", words.LIBRARY_EMPTY, class_="quiet")
    known = any(card.view.id == opened for card in cards)
    stop = opened if known else cards[0].view.id
    shown = [_make_card(card, opened=opened, stop=stop) for card in cards]
    return element("div", *shown, class_="cards", role="group", aria_label=words.CARDS_LABEL)


def make_facts(run: OpenedRun) -> Markup:
    """Returns what is known of the opened run."""
    pairs = []
    for name, value in run.facts:
        pairs += [element("dt", name), element("dd", value)]
    message = run.view.message
    return element(
        "div",
        element("h3", run.view.name),
        element("dl", *pairs, class_="facts"),
        element("p", message, class_="note note-warning") if message else "",
        data_state=run.view.state,
        data_run=run.view.id,
    )


def make_download(run: OpenedRun) -> Markup:
    """Returns the link to the exported file.

    A plain link to our own route: a download button would first copy the file into a cache that
    everybody who can open the app may read.
    """
    if not run.export:
        return element("p", words.NO_EXPORT, class_="quiet")
    return element(
        "a",
        words.download(run.export, run.export_bytes),
        href=export_url(run.view.id, run.export),
        download=run.export,
        class_="download",
    )


def make_log_box(run: OpenedRun) -> Markup:
    """Returns the end of the run's log."""
    if not run.log:
        return element("p", words.LOG_EMPTY, class_="quiet")
    return make_log(run.log)


def _make_card(card: Card, *, opened: str, stop: str) -> Markup:
    view = card.view
    images = [
        element(
            "img",
            src=sample_url(view.id, sample),
            alt=train_words.row_heading(sample.step),
            title=sample.prompt,
            loading="lazy",
        )
        for sample in (card.first, card.last)
        if sample is not None
    ]
    pair = images or [element("span", words.NO_SAMPLE, class_="quiet")]
    return element(
        "button",
        element("span", *pair, class_="pair"),
        element("b", view.name),
        element("span", card.line),
        element("span", card.date, class_="quiet"),
        type="button",
        class_="card",
        data_key=view.id,
        aria_pressed="true" if view.id == opened else "false",
        tabindex=0 if view.id == stop else -1,
    )
