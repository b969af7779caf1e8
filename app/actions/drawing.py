"""Asking for a picture without and with adapters, and having a worker that draws it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from app.processes import has_worker, start_process
from app.text import folders as folders_text
from app.text import preview as preview_text
from app.views.base_models import read_answers
from app.views.preview import (
    ASKED_FOLDER,
    REQUEST_ID,
    AdapterEntry,
    find_adapter,
    read_adapter_config,
)
from app.workspace import Workspace, WorkspaceError
from datasets_tools.files import write_atomically
from trainer.config import BaseModelConfig
from trainer.runs import (
    AdapterChoice,
    PreviewFolder,
    PreviewRequest,
    clear_requests,
    request_preview,
)

_KEPT_RESULTS = 30


@dataclass(frozen=True)
class Wish:
    """What the Preview tab shows when a picture is asked for, as the browser sends it.

    Attributes:
        adapters: Id and weight of each adapter; an id of None is the newest adapter.
        base_model: A listed base model; "" takes the one that the first adapter was trained on.
        prompt: What to draw.
        seed: Of the noise.
        inference_steps: Denoising steps.
        guidance: How strongly the prompt is followed.
    """

    adapters: Sequence[tuple[object, float]]
    base_model: object
    prompt: str
    seed: float
    inference_steps: float
    guidance: float


def make_request(workspace: Workspace, wish: Wish) -> PreviewRequest:
    """Returns the request for what the page shows.

    Raises:
        WorkspaceError: an adapter is gone, no base model is known, or a value is out of bounds.
    """
    entries = [find_adapter(workspace, adapter_id) for adapter_id, _ in wish.adapters]
    try:
        return PreviewRequest(
            base_model=_find_base_model(workspace, wish, entries),
            prompt=wish.prompt,
            seed=_read_whole(wish.seed),
            inference_steps=_read_whole(wish.inference_steps),
            guidance=float(wish.guidance),
            adapters=tuple(
                AdapterChoice(path=str(entry.path.resolve()), weight=float(weight))
                for entry, (_, weight) in zip(entries, wish.adapters, strict=True)
            ),
        )
    except (ValidationError, TypeError, ValueError, OverflowError) as error:
        raise WorkspaceError(preview_text.bad_preview(_first_reason(error))) from error


def _find_base_model(
    workspace: Workspace, wish: Wish, entries: Sequence[AdapterEntry]
) -> BaseModelConfig:
    if wish.base_model:
        path = workspace.find_base_model(wish.base_model)
        told = read_answers(workspace, wish.base_model)
        return BaseModelConfig.model_validate({"path": str(path), **told})
    for entry in entries:
        config = read_adapter_config(workspace, entry.id)
        if config is not None and config.base_model.path:
            return config.base_model
    raise WorkspaceError(preview_text.NO_BASE)


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
