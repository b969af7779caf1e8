"""A LoRA file of the Library: what it is, what is wrong with it, what was packed from it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.adapters import LORA_MARK
from app.core.jobs import Job, name_job, read_job
from app.core.sizes import show_bytes
from app.core.workspace import Workspace, WorkspaceError
from app.library import files_text as words
from trainer.formats.embedding import find_embedding
from trainer.formats.header import FormatError, read_header

INSPECT = "inspect"
_SETTINGS = "lorasmith.config"  # the entry of the header
# Kinds of packs: the option of `lorasmith bundle`, and how what it makes ends.
PACKS = {"civitai": "-civitai.zip", "hub": "-hub"}


@dataclass(frozen=True)
class FileView:
    """A LoRA file on the shelf.

    Attributes:
        id: The run and the file, or a mark and the file.
        word: The embedding that a run exported with it, if it learned a word.
    """

    id: str
    path: Path
    bytes: int
    run_id: str = ""
    word: Path | None = None


@dataclass(frozen=True)
class Program:
    """Whether a program loads a file ("yes", "partly", "no"), and why not."""

    name: str
    loads: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file: "error", "warning" or "note", what it is and what it breaks."""

    severity: str
    message: str


@dataclass(frozen=True)
class Inspection:
    """What a file is, in words."""

    facts: tuple[tuple[str, str], ...]
    programs: tuple[Program, ...]
    findings: tuple[Finding, ...]


def list_loras(workspace: Workspace) -> list[FileView]:
    """Returns the files that a person brought."""
    return [
        FileView(f"{LORA_MARK}{path.name}", path, path.stat().st_size)
        for path in workspace.list_loras()
    ]


def list_files(workspace: Workspace, opened: object) -> list[FileView]:
    """Returns the files of what was opened in the Library: a run, or a file from elsewhere."""
    if not isinstance(opened, str) or not opened:
        return []
    if opened.startswith(LORA_MARK):
        return [file for file in list_loras(workspace) if file.id == opened]
    try:
        run = workspace.find_run(opened)
    except WorkspaceError:
        return []
    return [
        FileView(f"{run.id}/{path.name}", path, path.stat().st_size, run.id, find_embedding(path))
        for path in run.list_exports()
    ]


def find_file(workspace: Workspace, opened: object, chosen: object) -> FileView | None:
    """Returns the chosen file of what was opened, else its newest one."""
    files = list_files(workspace, opened)
    return next((one for one in files if one.id == chosen), files[0] if files else None)


def name_file_job(kind: str, path: Path) -> str:
    """Returns the id of the job about a file as it is now."""
    try:
        facts = path.stat()
    except OSError:
        return name_job(kind, str(path))
    return name_job(kind, str(path), str(facts.st_size), str(facts.st_mtime_ns))


def read_file_job(workspace: Workspace, kind: str, path: Path) -> Job:
    """Returns how far the job about a file is."""
    return read_job(workspace, name_file_job(kind, path))


def read_metadata(path: Path) -> dict[str, str]:
    """Returns a file's header; nothing where it cannot be read."""
    try:
        return read_header(path).metadata
    except FormatError:
        return {}


def find_pack(workspace: Workspace, file: FileView, kind: str) -> Path | None:
    """Returns the zip or the folder that was packed from a file; None before it is there."""
    job = read_file_job(workspace, kind, file.path)
    place = job.path / f"{file.path.stem}{PACKS[kind]}"
    return place if job.state == "done" and place.exists() else None


def read_settings(path: Path) -> dict[str, Any]:
    """Returns the settings that a file made here carries; nothing where it carries none."""
    try:
        settings = json.loads(read_metadata(path).get(_SETTINGS, "{}"))
    except (ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def view_inspection(job: Job) -> Inspection | None:
    """Returns what a file is; None before anybody looked."""
    told = job.answer
    if job.state != "done" or not isinstance(told, dict):
        return None
    return Inspection(
        facts=tuple((name, value) for name, value in _list_facts(told) if value),
        programs=tuple(
            Program(str(one["program"]), str(one["loads"]), tuple(map(str, one["reasons"])))
            for one in told.get("programs", ())
        ),
        findings=tuple(_split_finding(str(line)) for line in told.get("findings", ())),
    )


def _list_facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sure = "" if told.get("certain") else words.BY_ITS_HEADER
    yield words.FACT_FAMILY, f"{told.get('family', '')}{sure}"
    yield words.FACT_KIND, ", ".join(map(str, told.get("kinds", ())))
    for part in told.get("components", ()):
        yield _begin(str(part["name"])), _describe_component(part)
    yield words.FACT_TRIGGER, str(told.get("trigger", ""))
    yield words.FACT_TAGS, ", ".join(map(str, told.get("tags", ())))
    yield words.FACT_PREDICTION, str(told.get("prediction", ""))
    yield words.FACT_BASE, str(told.get("base_model", ""))
    size = show_bytes(int(told.get("bytes", 0)))
    yield words.FACT_FILE, words.file_fact(size, told.get("precision"), told.get("naming"))
    training = told.get("training", {})
    yield words.FACT_TRAINING, ", ".join(f"{name} {value}" for name, value in training.items())
    digest, stated = str(told.get("digest", "")), str(told.get("stated_digest", ""))
    same = not stated or digest == stated
    yield words.FACT_HASH, digest if same else words.other_hash(digest, stated)


def _describe_component(part: Mapping[str, Any]) -> str:
    kinds = ", ".join(map(str, part["kinds"]))
    # As keys of a JSON object, numbers come as text.
    ranks, alphas = (
        ", ".join(f"{float(number):g}" for number in part[name]) for name in ("ranks", "alphas")
    )
    return words.component(int(part["modules"]), int(part["of"]), kinds, ranks, alphas)


def _split_finding(line: str) -> Finding:
    severity, colon, message = line.partition(": ")
    if colon and severity in words.SEVERITIES:
        return Finding(severity, message)
    return Finding("note", line)


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]
