"""Whether a checkpoint is whole, and setting those aside that are not.

    checkpoints/
      step-000250/
        adapter.safetensors     trained weights
        training.safetensors    what the optimiser remembers, and averages
        meta.json               the step, and what decides the result
        manifest.json           size and SHA-256 of the three
      step-000500.damaged/      one that is damaged; nothing reads it any more

A disk that was full, a cable that was pulled and a power failure can leave a file whose header is
whole and whose body is not, which loads and trains into something else. So the hashes decide.
"""

import errno
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets_tools.bounded_json import UnreadableError, read_table
from datasets_tools.disk import rename, sync_folder
from datasets_tools.files import explain_os_error, write_atomically
from trainer.formats.header import FormatError, read_header
from trainer.runs.errors import RunError
from trainer.runs.folder import Checkpoint, RunFolder

MANIFEST = "manifest.json"
META = "meta.json"
META_VERSION = 2  # from 2 on there is a manifest
TENSORS = ("adapter.safetensors", "training.safetensors")
_META_BYTES = 256 * 1024**2  # it names every image of the dataset
_FIELDS = {"step": int, "optimizer": dict, "examples": dict, "scaler": dict}


def write_files(folder: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Writes the files of a checkpoint, and their manifest last.

    Args:
        folder: Empty.
        contents: Names and contents, which are asked for one at a time.

    Raises:
        OSError: From the system.
    """
    files = {}
    for name, content in contents:
        # Of what should be written: what the disk gives back is compared with it.
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        write_atomically(folder / name, content)
    write_atomically(folder / MANIFEST, json.dumps({"files": files}, indent=1))


def name_checkpoint(folder: Path) -> Checkpoint:
    """Returns the checkpoint in a folder; its step is that of the name, or -1."""
    digits = folder.name.removeprefix("step-")
    return Checkpoint(int(digits) if digits.isascii() and digits.isdigit() else -1, folder)


def read_meta(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns what a checkpoint's meta.json holds, whose fields have the right types.

    Raises:
        OSError: From the system.
        UnreadableError: it is damaged.
    """
    meta = read_table(checkpoint.path / META, _META_BYTES)
    for field, kind in _FIELDS.items():
        if type(meta.get(field)) is not kind:
            raise UnreadableError(f"its field {field} is missing or of the wrong type")
    if meta["step"] != checkpoint.step:
        raise UnreadableError(f"it is of step {meta['step']}, and its folder of another one")
    return meta


def find_damage(checkpoint: Checkpoint) -> str:
    """Returns what is wrong with a checkpoint; "" where it is whole.

    Every file is read. Of a checkpoint from before there was a manifest only meta.json and the
    headers are checked.

    Raises:
        RunError: the system does not let us read it, which is no damage.
    """
    name = META
    try:
        meta = read_meta(checkpoint)
        if not (checkpoint.path / MANIFEST).is_file() and meta.get("version", 1) == 1:
            for name in TENSORS:
                read_header(checkpoint.path / name)
            return ""
        name = MANIFEST
        files = read_table(checkpoint.path / MANIFEST).get("files")
        if not isinstance(files, dict) or not {*TENSORS, META} <= files.keys():
            raise UnreadableError("it does not name every file")
        for name, recorded in files.items():
            path = checkpoint.path / name
            facts = {"bytes": path.stat().st_size, "sha256": _hash(path)}
            if facts != recorded:
                return f"{name} is not what was saved"
    except (UnreadableError, FormatError) as error:
        return f"{name} cannot be used ({str(error).rstrip('.')})"
    except OSError as error:
        if error.errno == errno.ENOENT:
            return f"{name} is missing"
        if error.errno == errno.EIO:
            return f"{name} cannot be read because the disk has a fault"
        msg = f"{checkpoint.path / name} cannot be read: {explain_os_error(error)}"
        raise RunError(msg) from error
    return ""


def set_damaged_aside(run: RunFolder) -> list[str]:
    """Renames the newest checkpoints that are damaged, up to the newest whole one.

    Returns:
        A sentence for each, with what is lost.

    Raises:
        RunError: a checkpoint cannot be read or renamed.
    """
    messages = []
    checkpoints = run.list_checkpoints()
    while checkpoints and (damage := find_damage(checkpoints[-1])):
        damaged = checkpoints.pop()
        aside = _rename_aside(damaged.path)
        before = checkpoints[-1].step if checkpoints else 0
        messages.append(
            f"The checkpoint {damaged.path.name} is damaged: {damage}. It was renamed to "
            f"{aside.name}, and the steps from {before + 1} to {damaged.step} are trained again. "
            "Check the disk if this happens twice."
        )
    return messages


def _rename_aside(folder: Path) -> Path:
    try:
        for count in range(1, 1000):
            number = f"-{count}" if count > 1 else ""
            aside = folder.with_name(f"{folder.name}.damaged{number}")
            if not aside.exists():
                break
        rename(folder, aside)
    except OSError as error:
        msg = f"{folder} is damaged and cannot be renamed: {explain_os_error(error)}"
        raise RunError(msg) from error
    sync_folder(folder.parent)
    return aside


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
