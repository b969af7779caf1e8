"""What the Library does with a LoRA file: having it looked into, and having it packed."""

import os
import zipfile
from pathlib import Path

from app.core.jobs import send_job
from app.core.lora_files import INSPECT, PACKS, FileView, find_pack, name_file_job
from app.core.run_contents import read_run_config
from app.core.workspace import Workspace, WorkspaceError
from app.library import files_text as words
from app.library.singular_values import name_spectrum_job


def look_into_file(workspace: Workspace, file: FileView | None) -> None:
    """Has a file inspected and its layers measured, unless the answers are there already.

    Raises:
        WorkspaceError: the file is gone, or the command cannot be started.
    """
    if file is None:
        raise WorkspaceError(words.FILE_GONE)
    arguments = [INSPECT, str(file.path.resolve()), "--json", f"--workspace={workspace.root}"]
    send_job(workspace, name_file_job(INSPECT, file.path), arguments)
    # Another job, because it takes longer.
    arguments += ["--spectrum", *_name_base_model(workspace, file)]
    send_job(workspace, name_spectrum_job(file.path), arguments)


def _name_base_model(workspace: Workspace, file: FileView) -> list[str]:
    """Returns the option that names what a run trained on, as far as it is still there."""
    if not file.run_id:
        return []
    config = read_run_config(workspace.find_run(file.run_id))
    path = Path(config.base_model.path) if config and config.base_model.path else None
    return [f"--base-model={path.resolve()}"] if path and path.exists() else []


def pack_file(workspace: Workspace, file: FileView | None, kind: str) -> None:
    """Has a file packed for Civitai or the hub, unless the pack is there already.

    Raises:
        WorkspaceError: the file is gone, or the command cannot be started.
    """
    if file is None:
        raise WorkspaceError(words.FILE_GONE)
    job_id = name_file_job(kind, file.path)
    to = workspace.jobs_path / job_id / f"{file.path.stem}{PACKS[kind]}"
    arguments = ["bundle", str(file.path.resolve()), f"--{kind}", str(to), "--json"]
    send_job(workspace, job_id, [*arguments, f"--workspace={workspace.root}"])


def find_pack_zip(workspace: Workspace, file: FileView, kind: str) -> Path | None:
    """Returns the zip of a pack; a folder becomes one when it is first asked for."""
    place = find_pack(workspace, file, kind)
    if place is None or place.is_file():
        return place
    packed = place.with_name(f"{place.name}.zip")
    if not packed.is_file():
        # Weights do not become smaller by packing. Aside first: two tabs may ask at once.
        aside = packed.with_name(f".{packed.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    archive.write(path, Path(file.path.stem) / path.relative_to(place))
        aside.replace(packed)
    return packed
