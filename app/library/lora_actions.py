"""LoRA files that a person brings: checked from outside, then kept in the workspace."""

import contextlib
import re
import shutil
from pathlib import Path

from app.core.workspace import MAX_LORA_BYTES, Workspace, WorkspaceError
from app.preview import text as words
from datasets_tools.errors import show_name
from trainer.formats.header import FormatError, read_header

_UNSUITABLE = re.compile(r"[^A-Za-z0-9._+-]+")
_BASE_MODEL = "model.diffusion_model."


def keep_lora(workspace: Workspace, upload: str) -> tuple[Path, bool]:
    """Moves an uploaded LoRA file into the workspace.

    What it changes, and of which family, is found out by whoever loads it.

    Returns:
        Where it lies now, and whether it was there already.

    Raises:
        WorkspaceError: it is no LoRA file, or cannot be kept. The upload is deleted all the same.
    """
    source = Path(upload).resolve()
    if not source.is_relative_to(workspace.uploads_path.resolve()):
        raise WorkspaceError(words.NOT_AN_UPLOAD)
    try:
        _check(source)
        for known in workspace.list_loras():
            if _is_same(known, source):
                return known, True
        place = _find_place(workspace, source)
        # Aside first: a copy across disks must not be found half done.
        aside = workspace.loras_path / f".{place.name}.tmp"
        shutil.move(source, aside)
        aside.rename(place)
    except OSError as error:
        reason = str(error.strerror or error)
        raise WorkspaceError(words.lora_refused(show_name(source), f"{reason}.")) from error
    finally:
        source.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder that Gradio made for this one file
            source.parent.rmdir()
    return place, False


def _check(path: Path) -> None:
    reason = ""
    if path.suffix.lower() != ".safetensors":
        reason = words.WRONG_ENDING
    elif path.stat().st_size > MAX_LORA_BYTES:
        reason = words.lora_too_large(MAX_LORA_BYTES)
    else:
        try:
            names = read_header(path).tensors
        except FormatError as error:
            # A whole sentence that begins with the file's name.
            raise WorkspaceError(str(error)) from error
        if any(name.startswith(_BASE_MODEL) for name in names):
            reason = words.IS_A_BASE_MODEL
        elif not names:
            reason = words.NO_TENSORS
    if reason:
        raise WorkspaceError(words.lora_refused(show_name(path), reason))


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
    stem = _UNSUITABLE.sub("-", source.stem).strip(".-")[:80] or "lora"
    place, number = workspace.loras_path / f"{stem}.safetensors", 2
    while place.exists():
        place, number = workspace.loras_path / f"{stem}-{number}.safetensors", number + 1
    return place
