"""What happens on the Library tab: a run resumed, a file looked into or packed."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.core.jobs import send_job
from app.core.lora_files import (
    FORMATS,
    INSPECT,
    MADE,
    FileView,
    find_file,
    find_pack,
    name_file_job,
)
from app.core.run_contents import read_run_config
from app.core.workspace import Workspace, WorkspaceError
from app.library import text
from app.library.singular_values import MEASURE
from app.ui.markup import note
from datasets_tools.files import write_aside
from trainer.runs import RunFolder

ContinueRun = Callable[[Workspace, RunFolder], str]


class LibraryEvents:
    """The tab's events. What is opened is known by a run's id or a file's, a file by its id."""

    def __init__(self, workspace: Workspace, continue_run: ContinueRun) -> None:
        self.workspace = workspace
        self.continue_run = continue_run

    def resume(self, event: SimpleNamespace) -> dict[str, Any] | None:
        """Starts the trainer on the opened run again; other buttons are the browser's."""
        if getattr(event, "key", "") != "resume":
            return None
        try:
            run = self.workspace.find_run(getattr(event, "open", ""))
            return {"message": note(self.continue_run(self.workspace, run), "good")}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}

    def look(self, event: SimpleNamespace) -> dict[str, Any]:
        """Has the file looked into; returns what went wrong."""
        try:
            look_into_file(self.workspace, self._find_file(event))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def pack(self, event: SimpleNamespace) -> dict[str, Any] | None:
        """Has the file packed, or converted for other programs; returns what went wrong."""
        kind = getattr(event, "key", "")
        if kind not in MADE:
            return None
        try:
            pack_file(self.workspace, self._find_file(event), kind)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def _find_file(self, event: SimpleNamespace) -> FileView | None:
        opened, chosen = getattr(event, "open", ""), getattr(event, "library_file", "")
        return find_file(self.workspace, opened, chosen)


def look_into_file(workspace: Workspace, file: FileView | None) -> None:
    """Has a file inspected and its layers measured, unless the answers are there already.

    Raises:
        WorkspaceError: the file is gone, or the command cannot be started.
    """
    if file is None:
        raise WorkspaceError(text.FILE_GONE)
    arguments = [INSPECT, str(file.path.resolve()), "--json", f"--workspace={workspace.root}"]
    send_job(workspace, name_file_job(INSPECT, file.path), arguments)
    # Another job, because it takes longer.
    arguments += ["--spectrum", *_name_base_model(workspace, file)]
    send_job(workspace, name_file_job(MEASURE, file.path), arguments)


def _name_base_model(workspace: Workspace, file: FileView) -> list[str]:
    """Returns the option that names what a run trained on, as far as it is still there."""
    if not file.run_id:
        return []
    config = read_run_config(workspace.find_run(file.run_id))
    path = Path(config.base_model.path) if config and config.base_model.path else None
    return [f"--base-model={path.resolve()}"] if path and path.exists() else []


def pack_file(workspace: Workspace, file: FileView | None, kind: str) -> None:
    """Has a file packed for Civitai or the hub, or converted, unless the result is there already.

    Raises:
        WorkspaceError: the file is gone, or the command cannot be started.
    """
    if file is None:
        raise WorkspaceError(text.FILE_GONE)
    job_id = name_file_job(kind, file.path)
    to = workspace.jobs_path / job_id / f"{file.path.stem}{MADE[kind]}"
    source = str(file.path.resolve())
    arguments = ["bundle", source, f"--{kind}", str(to), "--json"]
    if kind in FORMATS:
        arguments = ["convert", source, f"--to={kind}", f"--output={to}", "--json"]
        arguments += _name_base_model(workspace, file)
    send_job(workspace, job_id, [*arguments, f"--workspace={workspace.root}"])


def find_pack_zip(workspace: Workspace, file: FileView, kind: str) -> Path | None:
    """Returns the zip of a pack; a folder becomes one when it is first asked for."""
    place = find_pack(workspace, file, kind)
    if place is None or place.is_file():
        return place
    packed = place.with_name(f"{place.name}.zip")
    if not packed.is_file():
        # Weights do not become smaller by packing. Aside first: two tabs may ask at once.
        with write_aside(packed) as aside, zipfile.ZipFile(aside, "w") as archive:
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    archive.write(path, Path(file.path.stem) / path.relative_to(place))
    return packed
