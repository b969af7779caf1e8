"""Asking for a picture without and with adapters, and having a worker that draws it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.core import text as folders_text
from app.core.adapters import (
    PREVIEW_REQUESTS,
    REQUEST_ID,
    WORKBENCH_REQUESTS,
    AdapterEntry,
    find_adapter,
    read_adapter_config,
)
from app.core.base_models import read_answers
from app.core.processes import has_worker, start_process
from app.core.workspace import Workspace, WorkspaceError
from app.preview import text as preview_text
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
    base_model = find_drawing_base(workspace, wish.base_model, entries)
    weights = [weight for _, weight in wish.adapters]
    files = [(entry.path, weight) for entry, weight in zip(entries, weights, strict=True)]
    return compose_request(base_model, files, wish)


def compose_request(
    base_model: BaseModelConfig, files: Sequence[tuple[Path, float]], wish: Wish
) -> PreviewRequest:
    """Returns the request for files at weights; of the wish only prompt and numbers count.

    Raises:
        WorkspaceError: a value is out of bounds.
    """
    try:
        return PreviewRequest(
            base_model=base_model,
            prompt=wish.prompt,
            seed=_read_whole(wish.seed),
            inference_steps=_read_whole(wish.inference_steps),
            guidance=float(wish.guidance),
            adapters=tuple(
                AdapterChoice(path=str(path.resolve()), weight=float(weight))
                for path, weight in files
            ),
        )
    except (ValidationError, TypeError, ValueError, OverflowError) as error:
        raise WorkspaceError(preview_text.bad_preview(_first_reason(error))) from error


def find_drawing_base(
    workspace: Workspace, chosen: object, entries: Sequence[AdapterEntry]
) -> BaseModelConfig:
    """Returns the chosen base model, else the one that the first adapter was trained on.

    Raises:
        WorkspaceError: there is no such base model, or none is known.
    """
    if chosen:
        path = workspace.find_base_model(chosen)
        told = read_answers(workspace, chosen)
        return BaseModelConfig.model_validate({"path": str(path), **told})
    for entry in entries:
        config = read_adapter_config(workspace, entry.id)
        if config is not None and config.base_model.path:
            return config.base_model
    raise WorkspaceError(preview_text.NO_BASE)


def draw(workspace: Workspace, wanted: PreviewRequest, asked: str = PREVIEW_REQUESTS) -> str:
    """Files a request, has a worker for it, and returns the request's id.

    Args:
        workspace: Where the preview folder lies.
        wanted: The request.
        asked: Under which name the page that asks for it finds it again.

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
        (folder.path / asked).mkdir(exist_ok=True)
        write_atomically(folder.path / asked / f"{request_id}.json", wanted.model_dump_json())
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
    for name in (PREVIEW_REQUESTS, WORKBENCH_REQUESTS):
        asked = sorted((folder.path / name).glob("[!.]*.json"))
        for path in asked[: -2 * _KEPT_RESULTS]:
            path.unlink(missing_ok=True)


def _first_reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
    return str(error)
