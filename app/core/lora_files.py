"""LoRA files of the Library, exported by a run or brought by a person."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.core.adapters import LORA_MARK
from app.core.jobs import Job, name_job, read_job
from app.core.workspace import Workspace, WorkspaceError
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


def export_url(run_id: str, name: str) -> str:
    """Returns the address of an exported file."""
    return f"/media/export/{quote(run_id, safe='')}/{quote(name, safe='')}"


def file_url(file: FileView) -> str:
    """Returns the address of a LoRA file, exported by a run or brought by a person."""
    if file.run_id:
        return export_url(file.run_id, file.path.name)
    return f"/media/lora/{quote(file.path.name, safe='')}"


def word_url(file: FileView) -> str:
    """Returns the address of the embedding that a run exported with a file."""
    return f"/media/word/{quote(file.run_id, safe='')}/{quote(file.path.name, safe='')}"


def pack_url(file: FileView, kind: str) -> str:
    """Returns the address of what was packed from a file."""
    opened, name = quote(file.run_id or file.id, safe=""), quote(file.path.name, safe="")
    return f"/media/pack/{kind}/{opened}/{name}"
