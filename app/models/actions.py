"""Base models: adding one by its path, looking at it, answering for it, downloading one."""

from dataclasses import replace
from pathlib import Path

from app.core import text as folders_text
from app.core.base_models import name_model_job
from app.core.jobs import Job, list_jobs, name_job, send_job, stop_job
from app.core.known_models import KnownModels, is_base_model, read_known, write_known
from app.core.text import show_bytes
from app.core.workspace import Workspace, WorkspaceError
from app.models import text as words
from trainer.runs.base_models import parse_hub_id

HUB_ID_FILE = "hub-id.txt"
_DOWNLOADS = "download"
_PICKLES = {".ckpt", ".pt", ".pth", ".bin"}


def add_base_model(workspace: Workspace, typed: object) -> str:
    """Adds the base model at a path to the list, and returns the name that it has there.

    Raises:
        WorkspaceError: there is none, or paths may not be typed from where the browser is.
    """
    if not workspace.takes_paths:
        raise WorkspaceError(words.PATHS_CLOSED)
    text = str(typed or "").strip().strip("\"'")
    if not text or "\0" in text:
        raise WorkspaceError(words.NO_PATH)
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise WorkspaceError(words.RELATIVE_PATH)
    try:
        path = path.resolve()
        if not path.exists():
            raise WorkspaceError(words.no_such_path(text))
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links
        raise WorkspaceError(words.no_such_path(text)) from error
    if path.suffix.lower() in _PICKLES:
        raise WorkspaceError(words.is_pickle(path.name))
    if not is_base_model(path):
        raise WorkspaceError(words.not_a_model(text))
    known = read_known(workspace.known_models_path)
    if path not in workspace.list_base_models().values():
        _write(workspace, replace(known, added=(*known.added, str(path))))
    return next(name for name, place in workspace.list_base_models().items() if place == path)


def look_at_base_model(workspace: Workspace, name: object) -> None:
    """Has a base model looked at, unless its answer is there already.

    Raises:
        WorkspaceError: there is none of that name, or the command cannot be started.
    """
    path = workspace.find_base_model(name)
    arguments = ["models", str(path), "--json", f"--workspace={workspace.root}"]
    send_job(workspace, name_model_job(path), arguments)


def answer_for_base_model(workspace: Workspace, name: object, prediction: object) -> str:
    """Keeps what a person says that a base model predicts, and returns it.

    Raises:
        WorkspaceError: there is no such base model or no such answer.
    """
    path = workspace.find_base_model(name)
    if prediction not in words.ANSWERS:
        raise WorkspaceError(words.QUESTION)
    known = read_known(workspace.known_models_path)
    answers = known.answers | {str(path): {"prediction": str(prediction)}}
    _write(workspace, replace(known, answers=answers))
    return str(prediction)


def start_download(workspace: Workspace, typed: object) -> Job:
    """Starts the download of a base model into the workspace.

    Raises:
        WorkspaceError: what was typed is no hub id, or the command cannot be started.
    """
    hub_id = parse_hub_id(str(typed or "").strip())
    if hub_id is None:
        raise WorkspaceError(words.NOT_A_HUB_ID)
    arguments = ["download", str(hub_id), "--json", f"--workspace={workspace.root}"]

    def note_id(folder: Path) -> None:
        (folder / HUB_ID_FILE).write_text(str(hub_id), encoding="utf-8")

    # Again also where it is here already: the command says so at once, or fetches what was removed.
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
            return words.DOWNLOAD_STARTED, "info", 0
        percent = min(100, int(100 * done / total))
        return (
            words.downloading(hub_id, show_bytes(done), show_bytes(total), percent),
            "info",
            percent,
        )
    if job.state == "done":
        return words.downloaded(hub_id), "good", 100
    if job.state == "failed" and job.was_stopped:
        return words.DOWNLOAD_STOPPED, "info", 0
    if job.state == "failed":
        return words.download_failed(job.message), "error", 0
    return "", "info", 0


def read_progress(job: Job) -> tuple[int, int]:
    """Returns the bytes of a download that have arrived, and those that it has in all."""
    for event in reversed(job.events):
        if isinstance(event.get("done"), int) and isinstance(event.get("total"), int):
            return event["done"], event["total"]
    return 0, 0


def _write(workspace: Workspace, known: KnownModels) -> None:
    try:
        write_known(workspace.known_models_path, known)
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_write(str(error.strerror or error))) from error
