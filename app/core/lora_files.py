"""LoRA files, exported by a run or brought by a person: to show, and to generate images with."""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.core import text
from app.core.examples import list_examples
from app.core.jobs import Job, name_job, read_job
from app.core.run_contents import read_run_config
from app.core.workspace import MAX_LORA_BYTES, Workspace, WorkspaceError
from datasets_tools.disk import move_file, remove_empty_folder, remove_quietly, rename
from datasets_tools.errors import show_name
from datasets_tools.files import explain_os_error
from datasets_tools.names import change_name
from trainer.config import RunConfig, list_new_prompts, parse_sample_prompt
from trainer.formats.embedding import find_embedding
from trainer.formats.header import FormatError, read_header
from trainer.runs import list_runs

LORA_PREFIX = "file:"  # before the name of a file that a person brought
MAX_ADAPTERS = 4
INSPECT = "inspect"
_UNSUITABLE = re.compile(r"[^A-Za-z0-9._+-]+")
_BASE_MODEL = "model.diffusion_model."
_SETTINGS = "lorasmith.config"  # the entry of the header
# Kinds of packs: the option of `lorasmith bundle`, and how what it makes ends; and the formats of
# `lorasmith convert`.
PACKS = {"civitai": "-civitai.zip", "hub": "-hub"}
FORMATS = {"kohya": "-kohya.safetensors", "diffusers": "-diffusers.safetensors"}
MADE = PACKS | FORMATS


@dataclass(frozen=True)
class FileView:
    """A LoRA file of the Library.

    Attributes:
        id: The run and the file, or `LORA_PREFIX` and the file.
        word: The textual-inversion embedding that a run exported with it.
    """

    id: str
    path: Path
    bytes: int
    run_id: str = ""
    word: Path | None = None


def keep_lora(workspace: Workspace, upload: str) -> tuple[Path, bool]:
    """Moves an uploaded LoRA file into the workspace.

    Returns:
        Where it lies now, and whether it was there already.

    Raises:
        WorkspaceError: it is no LoRA file, or cannot be kept. The upload is deleted all the same.
    """
    source = Path(upload).resolve()
    if not source.is_relative_to(workspace.uploads_path.resolve()):
        raise WorkspaceError(text.NOT_AN_UPLOAD)
    try:
        _check(source)
        for known in workspace.list_loras():
            if _is_same(known, source):
                return known, True
        place = _find_place(workspace, source)
        # Aside first: a copy across disks must not be found half done.
        aside = workspace.loras_path / f".{place.name}.tmp"
        move_file(source, aside)
        rename(aside, place)
    except OSError as error:
        reason = explain_os_error(error)
        raise WorkspaceError(text.lora_refused(show_name(source), reason)) from error
    finally:
        remove_quietly(source)
        with contextlib.suppress(OSError):  # the folder that Gradio made for this one file
            remove_empty_folder(source.parent)
    return place, False


def list_loras(workspace: Workspace) -> list[FileView]:
    """Returns the files that a person brought."""
    return [
        FileView(f"{LORA_PREFIX}{path.name}", path, path.stat().st_size)
        for path in workspace.list_loras()
    ]


def list_files(workspace: Workspace, opened: object) -> list[FileView]:
    """Returns the files of what was opened in the Library: a run, or a file from elsewhere."""
    if not isinstance(opened, str) or not opened:
        return []
    if opened.startswith(LORA_PREFIX):
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
    """Returns what was packed or converted from a file; None before it is there."""
    job = read_file_job(workspace, kind, file.path)
    place = job.path / f"{file.path.stem}{MADE[kind]}"
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
    return f"media/export/{quote(run_id, safe='')}/{quote(name, safe='')}"


def file_url(file: FileView) -> str:
    """Returns the address of a LoRA file, exported by a run or brought by a person."""
    if file.run_id:
        return export_url(file.run_id, file.path.name)
    return f"media/lora/{quote(file.path.name, safe='')}"


def word_url(file: FileView) -> str:
    """Returns the address of the embedding that a run exported with a file."""
    return f"media/word/{quote(file.run_id, safe='')}/{quote(file.path.name, safe='')}"


def pack_url(file: FileView, kind: str) -> str:
    """Returns the address of what was packed from a file."""
    opened, name = quote(file.run_id or file.id, safe=""), quote(file.path.name, safe="")
    return f"media/pack/{kind}/{opened}/{name}"


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter file that images can be generated with.

    `id` is the run and the file, or `LORA_PREFIX` and the file, never a path; `run_id` is "" for a
    file that a person brought. `label` stands in lists, `name` under images.
    """

    id: str
    label: str
    run_id: str
    path: Path
    name: str


def list_adapters(workspace: Workspace) -> list[AdapterEntry]:
    """Returns what runs exported, newest run first, each with its checkpoints; then other files."""
    entries = []
    for run in list_runs(workspace.runs_path):
        for path in run.list_exports():
            label = f"{path.stem} ({run.id})"
            entries.append(AdapterEntry(f"{run.id}/{path.name}", label, run.id, path, path.stem))
        for checkpoint in reversed(run.list_checkpoints()):
            path = checkpoint.path / "adapter.safetensors"
            if path.is_file():
                label = text.checkpoint_label(run.id, checkpoint.step)
                entry_id = f"{run.id}/step-{checkpoint.step}"
                name = text.checkpoint_name(checkpoint.step)
                entries.append(AdapterEntry(entry_id, label, run.id, path, name))
    entries += [
        AdapterEntry(f"{LORA_PREFIX}{path.name}", text.lora_label(path.stem), "", path, path.stem)
        for path in workspace.list_loras()
    ]
    return entries


def find_adapter(workspace: Workspace, adapter_id: object) -> AdapterEntry:
    """Returns that adapter, for None the newest; raises WorkspaceError where there is none."""
    for entry in list_adapters(workspace):
        if adapter_id is None or entry.id == adapter_id:
            return entry
    raise WorkspaceError(text.NO_ADAPTER)


def read_adapter_config(workspace: Workspace, adapter_id: object) -> RunConfig | None:
    """Returns the config of the run that an adapter comes from; None for a file from elsewhere."""
    try:
        entry = find_adapter(workspace, adapter_id)
        return read_run_config(workspace.find_run(entry.run_id)) if entry.run_id else None
    except WorkspaceError:
        return None


def suggest_prompt(config: RunConfig) -> str:
    """Returns a first prompt: the run's own, else the first caption as its samples have it.

    The trigger is put first where it is missing, and is all there is without captions. Without a
    trigger either, the prompt is one that shows what is learned.
    """
    trigger = config.dataset.trigger
    first = next(iter(config.samples.prompts), "")
    prompt = parse_sample_prompt(first).text if first else ""
    if not prompt:
        examples = list_examples(Path(config.dataset.path))
        prompt = next((one.caption for one in examples if one.caption), "")
    if not prompt and not trigger:
        return list_new_prompts(config.dataset.class_word, ())[0]
    if not trigger or trigger in prompt:
        return prompt
    return f"{trigger}, {prompt}" if prompt else trigger


def _check(path: Path) -> None:
    reason = ""
    if path.suffix.lower() != ".safetensors":
        reason = text.WRONG_ENDING
    elif path.stat().st_size > MAX_LORA_BYTES:
        reason = text.lora_too_large(MAX_LORA_BYTES)
    else:
        try:
            names = read_header(path).tensors
        except FormatError as error:
            # A whole sentence that begins with the file's name.
            raise WorkspaceError(str(error)) from error
        if any(name.startswith(_BASE_MODEL) for name in names):
            reason = text.IS_A_BASE_MODEL
        elif not names:
            reason = text.NO_TENSORS
    if reason:
        raise WorkspaceError(text.lora_refused(show_name(path), reason))


def _is_same(known: Path, source: Path) -> bool:
    if known.stat().st_size != source.stat().st_size:
        return False
    with known.open("rb") as one, source.open("rb") as other:
        while left := one.read(1 << 20):
            if left != other.read(1 << 20):
                return False
    return True


def _find_place(workspace: Workspace, source: Path) -> Path:
    workspace.loras_path.mkdir(parents=True, exist_ok=True)
    stem = _UNSUITABLE.sub("-", source.stem).strip(".-")[:80]
    stem = change_name(stem, "lora")
    place, number = workspace.loras_path / f"{stem}.safetensors", 2
    while place.exists():
        place, number = workspace.loras_path / f"{stem}-{number}.safetensors", number + 1
    return place
