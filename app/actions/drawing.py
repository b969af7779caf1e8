"""Asking for a picture without and with an adapter, and having a worker that draws it."""

import shutil

from pydantic import ValidationError

from app.processes import has_worker, start_process
from app.text import folders as folders_text
from app.text import preview as preview_text
from app.views.preview import ASKED_FOLDER, REQUEST_ID, find_adapter
from app.views.train import read_run_config
from app.workspace import Workspace, WorkspaceError
from datasets_tools.files import write_atomically
from trainer.runs import (
    AdapterChoice,
    PreviewFolder,
    PreviewRequest,
    clear_requests,
    request_preview,
)

_KEPT_RESULTS = 30


def make_request(
    workspace: Workspace, adapter_id: object, weight: float, prompt: str, numbers: dict[str, float]
) -> PreviewRequest:
    """Returns the request for an adapter at a weight, on the base model it was trained on.

    Args:
        workspace: Where the adapter's run lies.
        adapter_id: Which adapter, as `views.preview` names them.
        weight: The adapter's weight.
        prompt: What to draw.
        numbers: `seed`, `inference_steps` and `guidance`.

    Raises:
        WorkspaceError: the adapter is gone, or a value is out of bounds.
    """
    entry = find_adapter(workspace, adapter_id)
    config = read_run_config(workspace.find_run(entry.run_id))
    if config is None or not config.base_model.path:
        raise WorkspaceError(preview_text.NO_BASE_OF_RUN)
    try:
        return PreviewRequest(
            base_model=config.base_model.path,
            prompt=prompt,
            seed=_read_whole(numbers["seed"]),
            inference_steps=_read_whole(numbers["inference_steps"]),
            guidance=float(numbers["guidance"]),
            adapters=(AdapterChoice(path=str(entry.path.resolve()), weight=float(weight)),),
        )
    except (ValidationError, TypeError, ValueError, OverflowError) as error:
        raise WorkspaceError(preview_text.bad_preview(_first_reason(error))) from error


def draw(workspace: Workspace, wanted: PreviewRequest) -> str:
    """Files a request, has a worker for it, and returns the request's id.

    Raises:
        WorkspaceError: the folder cannot be written or the worker cannot be started.
    """
    folder = workspace.preview
    try:
        folder.prepare()
        # Only the newest wish counts: a slider that is moved five times asks for one picture.
        for waiting in folder.requests_path.glob("[!.]*.json"):
            waiting.unlink(missing_ok=True)
        clear_requests(folder.path)  # a stop that the worker has not heard yet
        request_id = request_preview(folder, wanted)
        (folder.path / ASKED_FOLDER).mkdir(exist_ok=True)
        write_atomically(
            folder.path / ASKED_FOLDER / f"{request_id}.json", wanted.model_dump_json()
        )
        _forget_old(folder)
        if not has_worker(folder.path):
            command = [*workspace.trainer_command, "preview-worker", str(folder.path)]
            start_process(folder.path, command, folder.log_path)
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_spawn(str(error.strerror or error))) from error
    return request_id


def _read_whole(value: float) -> int:
    if value != int(value):
        msg = f"{value} is not a whole number"
        raise ValueError(msg)
    return int(value)


def _forget_old(folder: PreviewFolder) -> None:
    results = sorted(one.name for one in folder.results_path.iterdir())
    for name in results[:-_KEPT_RESULTS]:
        if REQUEST_ID.fullmatch(name):
            shutil.rmtree(folder.results_path / name, ignore_errors=True)
    asked = sorted((folder.path / ASKED_FOLDER).glob("[!.]*.json"))
    for path in asked[: -2 * _KEPT_RESULTS]:
        path.unlink(missing_ok=True)


def _first_reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
    return str(error)
