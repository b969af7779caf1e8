"""Base models: adding one by its path, looking at it, answering for it, downloading one."""

from dataclasses import replace
from pathlib import Path

from app.core import text as folders_text
from app.core.base_models import HUB_ID_FILE, find_download, name_download, name_model_job
from app.core.jobs import Job, send_job, stop_job
from app.core.known_models import KnownModels, is_base_model, read_known, write_known
from app.core.workspace import Workspace, WorkspaceError
from app.models import text as words
from trainer.runs.base_models import parse_hub_id

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


def _write(workspace: Workspace, known: KnownModels) -> None:
    try:
        write_known(workspace.known_models_path, known)
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_write(str(error.strerror or error))) from error
