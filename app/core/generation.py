"""Images without and with adapters: requests for them, and how far the newest one is."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from app.core import text
from app.core.base_models import read_answers
from app.core.lora_files import AdapterEntry, find_adapter, read_adapter_config
from app.core.run_views import read_log_tail
from app.core.workspace import Workspace, WorkspaceError
from datasets_tools.disk import read_text, remove_file, remove_quietly
from datasets_tools.files import explain_os_error, write_atomically
from trainer.config import BaseModelConfig
from trainer.runs import (
    AdapterChoice,
    PreviewFolder,
    PreviewProgress,
    PreviewRequest,
    PreviewResult,
    clear_requests,
    read_result,
    request_preview,
)
from trainer.runs.previews import cancel_preview, read_progress
from trainer.runs.starting import has_worker, start_process

PREVIEW_REQUESTS = "asked"
WORKBENCH_REQUESTS = "asked-by-workbench"  # those of the Library's workbench
REQUEST_ID = re.compile(r"\d{20}-[0-9a-f]{8}")
SIDES = ("without", "with")  # the adapters
_MAX_RESULTS = 30


@dataclass(frozen=True)
class GenerationRequest:
    """What a page shows when images are requested, as the browser sends it.

    `adapters` are ids with weights; an id of None is the newest adapter. A base model of "" is the
    one that the first adapter was trained on. `aspect`, `sampler` and `count` are those of
    `PreviewRequest`.
    """

    adapters: Sequence[tuple[object, float]]
    base_model: object
    prompt: str
    seed: float
    inference_steps: float
    guidance: float
    negative_prompt: str = ""
    sampler: str = ""
    aspect: str = ""
    count: float = 1


@dataclass(frozen=True)
class Generation:
    """The newest request and how far it is."""

    id: str
    request: PreviewRequest | None
    result: PreviewResult
    worker: bool
    log: str = ""
    progress: PreviewProgress | None = None


def make_request(workspace: Workspace, values: GenerationRequest) -> PreviewRequest:
    """Returns the request for what the page shows.

    Raises:
        WorkspaceError: an adapter is gone, no base model is known, or a value is out of bounds.
    """
    entries = [find_adapter(workspace, adapter_id) for adapter_id, _ in values.adapters]
    base_model = choose_base_model(workspace, values.base_model, entries)
    weights = [weight for _, weight in values.adapters]
    files = [(entry.path, weight) for entry, weight in zip(entries, weights, strict=True)]
    return compose_request(base_model, files, values)


def compose_request(
    base_model: BaseModelConfig, files: Sequence[tuple[Path, float]], values: GenerationRequest
) -> PreviewRequest:
    """Returns the request for files at weights; raises WorkspaceError for values out of bounds."""
    try:
        return PreviewRequest(
            base_model=base_model,
            prompt=values.prompt,
            seed=_read_whole(values.seed),
            inference_steps=_read_whole(values.inference_steps),
            guidance=float(values.guidance),
            negative_prompt=values.negative_prompt,
            sampler=values.sampler,
            aspect=values.aspect,
            count=_read_whole(values.count),
            adapters=tuple(
                AdapterChoice(path=str(path.resolve()), weight=float(weight))
                for path, weight in files
            ),
        )
    except (ValidationError, TypeError, ValueError, OverflowError) as error:
        raise WorkspaceError(text.out_of_bounds(_first_reason(error))) from error


def choose_base_model(
    workspace: Workspace, chosen: object, entries: Sequence[AdapterEntry]
) -> BaseModelConfig:
    """Returns the chosen base model, else the one that the first adapter was trained on.

    Raises:
        WorkspaceError: there is no such base model, or none is known.
    """
    if chosen:
        path = workspace.find_base_model(chosen)
        answers = read_answers(workspace, chosen)
        return BaseModelConfig.model_validate({"path": str(path), **answers})
    for entry in entries:
        config = read_adapter_config(workspace, entry.id)
        if config is not None and config.base_model.path:
            return config.base_model
    raise WorkspaceError(text.NO_BASE_OF_ADAPTER)


def generate(
    workspace: Workspace, request: PreviewRequest, requests: str = PREVIEW_REQUESTS
) -> str:
    """Files a request, has a worker for it, and returns the request's id.

    `requests` is the folder of the page's own requests.

    Raises:
        WorkspaceError: the folder cannot be written or the worker cannot be started.
    """
    folder = workspace.preview
    try:
        folder.prepare()
        # Only the newest request counts: a slider that is moved five times makes one image.
        for waiting in folder.requests_path.glob("[!.]*.json"):
            remove_file(waiting, missing_ok=True)
        clear_requests(folder.path)  # a stop that the worker has not read yet
        request_id = request_preview(folder, request)
        (folder.path / requests).mkdir(exist_ok=True)
        write_atomically(folder.path / requests / f"{request_id}.json", request.model_dump_json())
        _delete_old(folder)
        if not has_worker(folder.path):
            command = [*workspace.trainer_command, "preview-worker", str(folder.path)]
            start_process(folder.path, command, folder.log_path)
    except OSError as error:
        raise WorkspaceError(text.cannot_spawn(explain_os_error(error))) from error
    return request_id


def view_generation(folder: PreviewFolder, requests: str = PREVIEW_REQUESTS) -> Generation | None:
    """Returns the newest request of one page; None before there is one."""
    ids = _list_ids(folder, requests)
    if not ids:
        return None
    try:
        result = read_result(folder, ids[-1])
    except (ValueError, KeyError, TypeError):
        result = PreviewResult("failed", message=text.BROKEN_RESULT)
    worker = has_worker(folder.path)
    log = "" if worker or result.state == "done" else read_log_tail(folder.log_path, 12)
    request = _read_request(folder.path / requests, ids[-1])
    progress = read_progress(folder, ids[-1]) if result.state == "waiting" else None
    return Generation(ids[-1], request, result, worker, log, progress)


def cancel_generation(folder: PreviewFolder, request_id: object) -> None:
    """Has a request end before its next step.

    Raises:
        WorkspaceError: there is no such request, or its folder cannot be written.
    """
    if not isinstance(request_id, str) or request_id not in _list_ids(folder, PREVIEW_REQUESTS):
        raise WorkspaceError(text.NO_REQUEST)
    try:
        cancel_preview(folder, request_id)
    except OSError as error:
        raise WorkspaceError(text.cannot_spawn(explain_os_error(error))) from error


def find_newest_images(folder: PreviewFolder) -> str:
    """Returns the newest request of the Preview whose images are there; "" where there is none."""
    for request_id in reversed(_list_ids(folder, PREVIEW_REQUESTS)):
        images = (folder.results_path / request_id / f"{side}.png" for side in SIDES)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            done = read_result(folder, request_id).state == "done"
            if done and all(path.is_file() for path in images):
                return request_id
    return ""


def preview_url(request_id: str, side: str) -> str:
    """Returns the address of an image: "without" or "with" the adapters, "with-2", "progress"."""
    return f"media/preview/{quote(request_id, safe='')}/{side}"


def _list_ids(folder: PreviewFolder, requests: str) -> list[str]:
    """Returns the requests of one page, the oldest first."""
    names = {path.stem for path in folder.requests_path.glob("*.json")}
    names |= {path.name for path in folder.results_path.glob("*/")}
    for other in {PREVIEW_REQUESTS, WORKBENCH_REQUESTS} - {requests}:
        names -= {path.stem for path in (folder.path / other).glob("[!.]*.json")}
    return sorted(name for name in names if REQUEST_ID.fullmatch(name))


def _read_request(folder: Path, request_id: str) -> PreviewRequest | None:
    """Returns the request of an id."""
    path = folder / f"{request_id}.json"
    try:
        return PreviewRequest.model_validate_json(read_text(path))
    except (OSError, ValueError, ValidationError):
        return None


def _delete_old(folder: PreviewFolder) -> None:
    results = sorted(one.name for one in folder.results_path.iterdir())
    for name in results[:-_MAX_RESULTS]:
        if REQUEST_ID.fullmatch(name):
            remove_quietly(folder.results_path / name)
    for name in (PREVIEW_REQUESTS, WORKBENCH_REQUESTS):
        requests = sorted((folder.path / name).glob("[!.]*.json"))
        for path in requests[: -2 * _MAX_RESULTS]:
            remove_quietly(path)


def _read_whole(value: float) -> int:
    if value != int(value):
        msg = f"{value} is not a whole number"
        raise ValueError(msg)
    return int(value)


def _first_reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
    return str(error)
