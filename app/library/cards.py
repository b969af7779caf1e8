"""The Library tab: a card per run, and one run opened."""

from dataclasses import dataclass
from pathlib import Path

from app.core.lora_files import FileView, read_metadata
from app.core.run_contents import Sample, read_run_config, view_samples
from app.core.run_views import (
    RunView,
    describe_run,
    format_date,
    read_event_log,
    read_log_tail,
    view_run,
)
from app.core.text import show_bytes
from app.core.workspace import Workspace
from app.library import files_text
from app.library import text as library_text
from trainer.runs import RunFolder, list_runs


@dataclass(frozen=True)
class Card:
    """A run on the shelf."""

    view: RunView
    date: str
    line: str
    first: Sample | None
    last: Sample | None


@dataclass(frozen=True)
class OpenedRun:
    """A run taken off the shelf."""

    view: RunView
    facts: tuple[tuple[str, str], ...]
    trigger: str
    log: str


def view_cards(workspace: Workspace) -> list[Card]:
    """Returns all runs, newest first."""
    return [_make_card(run) for run in list_runs(workspace.runs_path)]


def view_opened(run: RunFolder) -> OpenedRun:
    """Returns everything that is shown of one run."""
    view = view_run(run)
    config = read_run_config(run)
    facts = [
        (library_text.FACT_STATE, describe_run(view)),
        (library_text.FACT_DATE, format_date(run.id, read_event_log(run))),
        (library_text.FACT_STEPS, f"{view.step} / {view.steps}" if view.steps else str(view.step)),
    ]
    if config is not None:
        adapter = config.adapter
        facts += [
            (library_text.FACT_BASE, Path(config.base_model.path).name),
            (library_text.FACT_DATASET, Path(config.dataset.path).name),
            (
                library_text.FACT_ADAPTER,
                library_text.adapter_fact(adapter.kind, adapter.rank, adapter.alpha),
            ),
        ]
    return OpenedRun(
        view=view,
        facts=tuple(facts),
        trigger=config.dataset.trigger if config else "",
        log=read_log_tail(run.log_path),
    )


def prompt_syntax(name: str) -> str:
    """Returns how a prompt calls the file in AUTOMATIC1111 and its relatives."""
    return f"<lora:{name}:1>"


def view_lora_facts(file: FileView) -> tuple[tuple[str, str], ...]:
    """Returns what the header of a file from elsewhere says about it, in a few words."""
    told = read_metadata(file.path)
    return tuple(
        (name, value)
        for name, value in (
            (files_text.FACT_SIZE, show_bytes(file.bytes)),
            (
                library_text.FACT_TITLE,
                told.get("modelspec.title") or told.get("ss_output_name", ""),
            ),
            (files_text.FACT_TRIGGER, told.get("modelspec.trigger_phrase", "")),
            (files_text.FACT_BASE, told.get("ss_sd_model_name", "")),
        )
        if value
    )


def _make_card(run: RunFolder) -> Card:
    view = view_run(run)
    samples = [one for _, row in view_samples(run).rows for one in row if one is not None]
    column = [one for one in samples if one.index == samples[0].index]
    return Card(
        view=view,
        date=format_date(run.id, read_event_log(run)),
        line=describe_run(view),
        first=column[0] if len(column) > 1 else None,
        last=column[-1] if column else None,
    )
