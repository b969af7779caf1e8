"""Base models: adding one by its path, looking at it, answering for it, downloading one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from app.core.base_models import (
    change_known_models,
    name_measuring_job,
    name_model_job,
    save_answer,
    view_base_model,
)
from app.core.examples import list_examples
from app.core.jobs import Job, list_jobs, name_job, send_job, stop_job
from app.core.text import show_bytes
from app.core.workspace import Workspace, WorkspaceError, is_base_model
from app.models import text
from app.ui.fragments import fill_fragment
from app.ui.markup import element, note
from trainer.runs.base_models import parse_hub_id

DOWNLOAD_VIEW = "base-model-download"
HUB_ID_FILE = "hub-id.txt"
_DOWNLOADS = "download"
_PICKLES = {".ckpt", ".pt", ".pth", ".bin"}


class BaseModelEvents:
    """What happens around the base model. The browser knows one by its name in the list."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def look(self, base_model: str | None) -> dict[str, Any]:
        """Has a base model looked at where nobody has yet, also after it was replaced."""
        view = view_base_model(self.workspace, base_model)
        if view is None or view.state != "unasked":
            return {"message": ""}
        try:
            look_at_base_model(self.workspace, base_model)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def answer(self, event: gr.EventData) -> dict[str, Any]:
        """Saves the answer to the question of the base model that was shown."""
        name, prediction = getattr(event, "base_model", ""), getattr(event, "key", "")
        try:
            save_answer(self.workspace, name, prediction)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def measure(self, dataset: str | None, event: gr.EventData) -> dict[str, Any]:
        """Has it measured what the base model that was shown predicts, or stops that."""
        name, key = getattr(event, "base_model", ""), getattr(event, "key", "")
        try:
            path = self.workspace.find_base_model(name)
            if key == "cancel-measuring":
                stop_job(self.workspace, name_measuring_job(path))
            else:
                measure_base_model(self.workspace, path, dataset)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def add(self, path: str) -> dict[str, Any]:
        """Adds a base model by its path and chooses it."""
        try:
            name = add_base_model(self.workspace, path)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        # The browser empties the box, if it still holds this path (`chooseBaseModel`).
        line = element("div", note(text.added(name), "good"), data_added=path)
        choices = list(self.workspace.list_base_models())
        return {"message": line, "base_model": gr.update(choices=choices, value=name)}

    def download(self, hub_id: str, event: gr.EventData) -> dict[str, Any]:
        """Starts a download, or stops the one that is under way."""
        if getattr(event, "key", "") == "cancel":
            stop_download(self.workspace)
            return {}
        try:
            job = start_download(self.workspace, hub_id)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": "", "progress": fill_fragment(DOWNLOAD_VIEW, job=job.id)}


def add_base_model(workspace: Workspace, typed: object) -> str:
    """Adds the base model at a path to the list, and returns the name that it has there.

    Raises:
        WorkspaceError: there is none, or paths may not be typed from where the browser is.
    """
    if not workspace.takes_paths:
        raise WorkspaceError(text.PATHS_CLOSED)
    entered = str(typed or "").strip().strip("\"'")
    if not entered or "\0" in entered:
        raise WorkspaceError(text.NO_PATH)
    path = Path(entered).expanduser()
    if not path.is_absolute():
        raise WorkspaceError(text.RELATIVE_PATH)
    try:
        path = path.resolve()
        if not path.exists():
            raise WorkspaceError(text.no_such_path(entered))
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links
        raise WorkspaceError(text.no_such_path(entered)) from error
    if path.suffix.lower() in _PICKLES:
        raise WorkspaceError(text.is_pickle(path.name))
    if not is_base_model(path):
        raise WorkspaceError(text.not_a_model(entered))
    if path not in workspace.list_base_models().values():
        change_known_models(
            workspace,
            lambda known: replace(known, added=tuple(dict.fromkeys((*known.added, str(path))))),
        )
    return next(name for name, place in workspace.list_base_models().items() if place == path)


def look_at_base_model(workspace: Workspace, name: object) -> None:
    """Has a base model looked at, unless its answer is there already.

    Raises:
        WorkspaceError: there is none of that name, or the command cannot be started.
    """
    path = workspace.find_base_model(name)
    arguments = ["models", str(path), "--json", f"--workspace={workspace.root}"]
    send_job(workspace, name_model_job(path), arguments)


def measure_base_model(workspace: Workspace, path: Path, dataset: object) -> Job:
    """Measures what a base model predicts, on a dataset where one with images is chosen.

    Raises:
        WorkspaceError: the dataset is gone, or the command cannot be started.
    """
    arguments = ["inspect", str(path), "--measure", "--progress", f"--workspace={workspace.root}"]
    folder = workspace.find_dataset(dataset) if dataset else None
    if folder is not None and list_examples(folder):
        arguments.append(f"--images={folder}")
    return send_job(workspace, name_measuring_job(path), arguments, again=True)


def start_download(workspace: Workspace, typed: object) -> Job:
    """Starts the download of a base model into the workspace.

    Raises:
        WorkspaceError: what was typed is no hub id, or the command cannot be started.
    """
    hub_id = parse_hub_id(str(typed or "").strip())
    if hub_id is None:
        raise WorkspaceError(text.NOT_A_HUB_ID)
    arguments = ["download", str(hub_id), "--json", f"--workspace={workspace.root}"]

    def note_id(folder: Path) -> None:
        (folder / HUB_ID_FILE).write_text(str(hub_id), encoding="utf-8")

    # Again also where it is here already: it ends at once then, or fetches what was removed.
    return send_job(workspace, name_download(str(hub_id)), arguments, note_id, again=True)


def stop_download(workspace: Workspace) -> None:
    """Ends the download that is under way; what has arrived stays for the next try."""
    stop_job(workspace, find_download(workspace).id)


def find_download(workspace: Workspace) -> Job:
    """Returns the download that was asked for last."""
    return next(iter(list_jobs(workspace, _DOWNLOADS)), Job())


def name_download(hub_id: str) -> str:
    """Returns the id of the job that downloads a base model."""
    return name_job(_DOWNLOADS, hub_id)


def read_hub_id(job: Job) -> str:
    """Returns what a download downloads."""
    try:
        return (job.path / HUB_ID_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""


def find_downloaded(workspace: Workspace, job: Job) -> str:
    """Returns the name in the list of what a download brought; "" where it is not there."""
    hub_id = parse_hub_id(read_hub_id(job))
    place = (workspace.models_path / hub_id.entry).resolve() if hub_id else None
    listed = workspace.list_base_models().items()
    return next((name for name, path in listed if path == place), "")


def describe_download(job: Job) -> tuple[str, str, int]:
    """Returns the line about a download, its kind, and its percent."""
    hub_id = read_hub_id(job)
    if job.state == "running":
        done, total = read_progress(job)
        if not total:
            return text.DOWNLOAD_STARTED, "info", 0
        percent = min(100, int(100 * done / total))
        return (
            text.downloading(hub_id, show_bytes(done), show_bytes(total), percent),
            "info",
            percent,
        )
    if job.state == "done":
        return text.downloaded(hub_id), "good", 100
    if job.state == "failed" and job.was_stopped:
        return text.DOWNLOAD_STOPPED, "info", 0
    if job.state == "failed":
        return text.download_failed(job.message), "error", 0
    return "", "info", 0


def read_progress(job: Job) -> tuple[int, int]:
    """Returns what of a job is done, and of how much: bytes of a download, or answers."""
    for event in reversed(job.events):
        if isinstance(event.get("done"), int) and isinstance(event.get("total"), int):
            return event["done"], event["total"]
    return 0, 0
