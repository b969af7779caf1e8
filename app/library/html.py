"""The Library tab's pieces of HTML."""

from collections.abc import Iterable

from app.core.lora_files import FileView, file_url, word_url
from app.core.run_contents import sample_url
from app.core.text import show_bytes
from app.library import text as words
from app.library.cards import Card, OpenedRun, view_lora_facts
from app.train import text as train_words
from app.ui.markup import Markup, element, make_log


def make_cards(cards: list[Card], files: list[FileView], opened: str) -> Markup:
    """Returns a card per run and per file from elsewhere, the opened one marked."""
    keys = [*(card.view.id for card in cards), *(file.id for file in files)]
    if not keys:
        return element("p", words.LIBRARY_EMPTY, class_="quiet")
    stop = opened if opened in keys else keys[0]
    groups = [[_make_card(card, opened=opened, stop=stop) for card in cards]]
    groups.append([_make_file_card(file, opened=opened, stop=stop) for file in files])
    shown = [element("div", *group, class_="cards") for group in groups if group]
    if files:
        shown.insert(-1, element("h3", words.FILES_HEADING))
    return element("div", *shown, role="group", aria_label=words.CARDS_LABEL)


def make_facts(run: OpenedRun) -> Markup:
    """Returns what is known of the opened run."""
    message = run.view.message
    return element(
        "div",
        element("h3", run.view.name),
        make_facts_list(run.facts),
        element("p", message, class_="note note-warning") if message else "",
        data_state=run.view.state,
        data_run=run.view.id,
    )


def make_lora_facts(file: FileView) -> Markup:
    """Returns what is known of a file from elsewhere at first sight."""
    return element("div", element("h3", file.path.stem), make_facts_list(view_lora_facts(file)))


def make_facts_list(facts: Iterable[tuple[str, str]]) -> Markup:
    """Returns names and values as a list of two columns."""
    pairs = [part for name, value in facts for part in (element("dt", name), element("dd", value))]
    return element("dl", *pairs, class_="facts")


def make_download(file: FileView | None) -> Markup:
    """Returns the link to a LoRA file.

    A plain link to our own route: a download button would first copy the file into a cache that
    everybody who can open the app may read.
    """
    if file is None:
        return element("p", words.NO_EXPORT, class_="quiet")
    line = words.download(file.path.name, file.bytes)
    links = [make_link(line, file_url(file), file.path.name)]
    if file.word:
        links.append(make_link(words.download_word(file.word.stem), word_url(file), file.word.name))
        links.append(element("p", words.word_use(file.word.stem), class_="quiet"))
    return element("div", *links)


def make_link(line: str, url: str, name: str) -> Markup:
    """Returns a link that downloads."""
    return element("a", line, href=url, download=name, class_="download")


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


def _make_file_card(file: FileView, *, opened: str, stop: str) -> Markup:
    return element(
        "button",
        element("b", file.path.stem),
        element("span", f"{words.FROM_ELSEWHERE}, {show_bytes(file.bytes)}", class_="quiet"),
        type="button",
        class_="card",
        data_key=file.id,
        aria_pressed="true" if file.id == opened else "false",
        tabindex=0 if file.id == stop else -1,
    )
