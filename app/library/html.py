"""The Library tab: a card per run and per file from elsewhere, and what was opened."""

from dataclasses import dataclass
from pathlib import Path

from app.core.lora_files import (
    FileView,
    file_url,
    find_file,
    list_files,
    list_loras,
    read_metadata,
    word_url,
)
from app.core.run_contents import Sample, read_run_config, sample_url, view_samples
from app.core.run_lists import list_run_views
from app.core.run_views import RunView, describe_run, format_date, read_log_tail, view_run
from app.core.text import show_bytes
from app.core.workspace import Workspace, WorkspaceError, stamp_file
from app.library import text
from app.ui.components import make_button, make_chips, make_copied, make_facts_list, make_link
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, make_log
from trainer.runs import RunFolder, list_runs


@dataclass(frozen=True)
class Card:
    """A run at a glance."""

    view: RunView
    date: str
    line: str
    first: Sample | None
    last: Sample | None


@dataclass(frozen=True)
class OpenedRun:
    """A run that was opened."""

    view: RunView
    facts: tuple[tuple[str, str], ...]
    trigger: str


def view_cards(workspace: Workspace) -> list[Card]:
    """Returns all runs, newest first."""
    return [_view_card(run) for run in list_runs(workspace.runs_path)]


def view_opened(run: RunFolder) -> OpenedRun:
    """Returns everything that is shown of one run."""
    view = view_run(run)
    config = read_run_config(run)
    facts = [
        (text.FACT_STATE, describe_run(view)),
        (text.FACT_DATE, format_date(view)),
        (text.FACT_STEPS, f"{view.step} / {view.steps}" if view.steps else str(view.step)),
    ]
    if config is not None:
        adapter = config.adapter
        facts += [
            (text.FACT_BASE, Path(config.base_model.path).name),
            (text.FACT_DATASET, Path(config.dataset.path).name),
            (text.FACT_ADAPTER, text.adapter_fact(adapter.kind, adapter.rank, adapter.alpha)),
        ]
    return OpenedRun(view, tuple(facts), config.dataset.trigger if config else "")


def view_lora_facts(file: FileView) -> tuple[tuple[str, str], ...]:
    """Returns what the header of a file from elsewhere contains, in short."""
    header = read_metadata(file.path)
    facts = (
        (text.FACT_SIZE, show_bytes(file.bytes)),
        (text.FACT_TITLE, header.get("modelspec.title") or header.get("ss_output_name", "")),
        (text.FACT_TRIGGER, header.get("modelspec.trigger_phrase", "")),
        (text.FACT_TRAINED_ON, header.get("ss_sd_model_name", "")),
    )
    return tuple((name, value) for name, value in facts if value)


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


def make_download(file: FileView | None) -> Markup:
    """Returns the link to a LoRA file.

    A plain link to our own route: a download button would first copy the file into a cache that
    everybody who can open the app may read.
    """
    if file is None:
        return element("p", text.NO_EXPORT, class_="quiet")
    line = text.download(file.path.name, file.bytes)
    links = [make_link(line, file_url(file), file.path.name)]
    if file.word:
        links.append(make_link(text.download_word(file.word.stem), word_url(file), file.word.name))
        links.append(element("p", text.word_use(file.word.stem), class_="quiet"))
    return element("div", *links)


def _view_card(run: RunFolder) -> Card:
    view = view_run(run)
    samples = [one for _, row in view_samples(run).rows for one in row if one is not None]
    column = [one for one in samples if one.index == samples[0].index]
    return Card(
        view=view,
        date=format_date(view),
        line=describe_run(view),
        first=column[0] if len(column) > 1 else None,
        last=column[-1] if column else None,
    )


def _make_card(card: Card) -> Markup:
    view = card.view
    images = [
        element(
            "img", src=sample_url(view.id, sample), alt=text.sample_step(sample.step),
            title=sample.prompt, loading="lazy",
        )
        for sample in (card.first, card.last)
        if sample is not None
    ]  # fmt: skip
    pair = images or [element("span", text.NO_SAMPLE, class_="quiet")]
    return make_button(
        element("span", *pair, class_="pair"),
        element("b", view.name),
        element("span", card.line),
        element("span", card.date, class_="quiet"),
        key=view.id,
        class_="card",
    )


def _make_file_card(file: FileView) -> Markup:
    line = f"{text.FROM_ELSEWHERE}, {show_bytes(file.bytes)}"
    return make_button(
        element("b", file.path.stem),
        element("span", line, class_="quiet"),
        key=file.id,
        class_="card",
    )


def _make_file_choice(files: list[FileView], chosen: FileView | None) -> Markup:
    """Returns the files of a run to choose from, where there are several."""
    if len(files) < 2:
        return Markup("")
    buttons = [
        make_button(
            one.path.name,
            key=one.id,
            class_="chip",
            data_selects="library_file",
            aria_pressed="true" if one == chosen else "false",
        )
        for one in files
    ]
    return join(element("span", text.FILE, class_="quiet"), make_chips(text.FILE, buttons))


def find_opened(workspace: Workspace, params: Params) -> tuple[RunFolder | None, FileView | None]:
    """Returns the opened run and its chosen file; no run where the file is from elsewhere."""
    opened = params.get("open")
    file = find_file(workspace, opened, params.get("library_file"))
    try:
        return workspace.find_run(opened), file
    except WorkspaceError:
        return None, file


def _render_cards(workspace: Workspace, _params: Params) -> Markup:
    """Returns a card per run and per file from elsewhere."""
    files = list_loras(workspace)
    runs = [_make_card(card) for card in view_cards(workspace)]
    groups = [runs, [_make_file_card(file) for file in files]]
    shown = [element("div", *group, class_="cards") for group in groups if group]
    if not shown:
        return element("p", text.LIBRARY_EMPTY, class_="quiet")
    if files:
        shown.insert(-1, element("h3", text.FILES_HEADING))
    return element("div", *shown, role="group", aria_label=text.CARDS_LABEL)


def _render_opened(workspace: Workspace, params: Params) -> Markup:
    run_folder, file = find_opened(workspace, params)
    run = view_opened(run_folder) if run_folder else None
    if run is None and file is None:
        anything = list_runs(workspace.runs_path) or list_loras(workspace)
        return element("p", text.LIBRARY_HINT, class_="quiet") if anything else Markup("")
    facts = make_facts(run) if run else Markup("")
    buttons = []
    if file is not None:
        heading = element("h3", file.path.stem)
        facts = facts or element("div", heading, make_facts_list(view_lora_facts(file)))
        buttons = [
            make_button(label, key=name, element_id=f"library-{name}", data_file=file.id)
            for name, label in (("continue", text.CONTINUE), ("settings", text.SETTINGS))
        ]
    if run is not None and run.view.can_resume:
        buttons.append(make_button(text.RESUME, key="resume", element_id="library-resume"))
    files = list_files(workspace, params.get("open"))
    syntax = text.prompt_syntax(file.path.stem) if file else ""
    return join(
        element("div", facts, id="library-facts"),
        element("div", _make_file_choice(files, file), id="library-file"),
        element("div", make_download(file), id="library-download"),
        element("div", *buttons, class_="buttons"),
        make_copied(text.TRIGGER, run.trigger if run else "", "library-trigger"),
        make_copied(text.SYNTAX, syntax, "library-syntax", text.SYNTAX_INFO),
    )


def _render_log(workspace: Workspace, params: Params) -> Markup:
    run, _ = find_opened(workspace, params)
    if run is None:
        return Markup("")
    log = read_log_tail(run.log_path)
    return make_log(log) if log else element("p", text.LOG_EMPTY, class_="quiet")


def _read_cards_version(workspace: Workspace, _params: Params) -> object:
    """Changes when a run has another state or new samples, or a file was brought."""
    states = [(view.id, view.state) for view in list_run_views(workspace)]
    samples = [stamp_file(path) for path in sorted(workspace.runs_path.glob("*/samples"))]
    return states, samples, list_loras(workspace)


def _read_opened_version(workspace: Workspace, params: Params) -> object:
    run, file = find_opened(workspace, params)
    state = (view_run(run), stamp_file(run.config_path)) if run else None
    anything = bool(list_runs(workspace.runs_path) or list_loras(workspace))
    return state, file, list_files(workspace, params.get("open")), anything


def _read_log_version(workspace: Workspace, params: Params) -> object:
    run, _ = find_opened(workspace, params)
    return (run.id, stamp_file(run.log_path)) if run else None


VIEWS = {
    "library-cards": View(_render_cards, _read_cards_version),
    "library-opened": View(_render_opened, _read_opened_version),
    "library-log": View(_render_log, _read_log_version),
}
