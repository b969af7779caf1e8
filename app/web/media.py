"""Images and downloads: own routes that take ids, never paths.

Gradio could serve folders (`allowed_paths`, `set_static_paths`), but then *everything* in them is
readable, and a run's folder holds checkpoints, logs and absolute paths beside its samples. Here
each address names one kind of file, its parts are looked up in listings, and what is found must
lie where that kind belongs. Nothing is copied into Gradio's cache, which anybody may read.
"""

import re
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.core.examples import find_example
from app.core.generation import REQUEST_ID
from app.core.grid_jobs import DOWNLOADS, GRID, locate_grid
from app.core.jobs import JOB_ID
from app.core.lora_files import MADE, find_file
from app.core.run_contents import sample_path
from app.core.workspace import Workspace, WorkspaceError
from app.dataset.images import make_thumbnail, make_web_copy
from app.library.events import find_pack_zip
from datasets_tools.disk import read_bytes
from trainer.formats.embedding import find_embedding
from trainer.runs.evaluations import read_suggestion
from trainer.runs.previews import PROGRESS_IMAGE

_SIDE = re.compile(r"without|with|with-[2-8]|progress")
_CELL = re.compile(r"[0-9a-f]{16}")
_THUMBNAIL = re.compile(r"[0-9a-f]{8,64}\.webp")
_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".gif": "image/gif",
    ".avif": "image/avif",
}
# Addresses carry the content's id or its time, so a browser may keep what it has.
_KEEP = "private, max-age=86400"
_FRESH = "private, no-cache"
# An image opened on its own runs nothing, whatever a browser takes it for.
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

Finder = Callable[[Workspace, dict[str, str]], Path | None]


def make_routes(workspace: Workspace) -> list[Route]:
    """Returns the routes for images and downloads."""
    return [
        Route(f"/media/{pattern}", _answer_with(workspace, find), methods=["GET"])
        for pattern, find in _FINDERS.items()
    ]


def _find_thumbnail(workspace: Workspace, names: dict[str, str]) -> Path | None:
    if not _THUMBNAIL.fullmatch(names["name"]):
        return None
    return make_thumbnail(workspace, workspace.find_dataset(names["dataset"]), names["name"])


def _find_image(workspace: Workspace, names: dict[str, str]) -> Path | None:
    example = find_example(workspace.find_dataset(names["dataset"]), names["key"])
    return example.path if example else None


def _find_sample(workspace: Workspace, names: dict[str, str]) -> Path | None:
    run = workspace.find_run(names["run"])
    return sample_path(run, int(names["step"]), int(names["index"]))


def _find_suggestion(workspace: Workspace, names: dict[str, str]) -> Path | None:
    suggestion = read_suggestion(workspace.find_run(names["run"]).path)
    return suggestion.sheet if suggestion else None


def _find_preview(workspace: Workspace, names: dict[str, str]) -> Path | None:
    request_id, side = names["request"], names["side"]
    if not REQUEST_ID.fullmatch(request_id) or not _SIDE.fullmatch(side):
        return None
    name = PROGRESS_IMAGE if side == "progress" else f"{side}.png"
    return workspace.preview.results_path / request_id / name


def _find_grid_cell(workspace: Workspace, names: dict[str, str]) -> Path | None:
    if not _is_grid(names["job"]) or not _CELL.fullmatch(names["key"]):
        return None
    return locate_grid(workspace, names["job"]).locate(names["key"])


def _find_grid(workspace: Workspace, names: dict[str, str]) -> Path | None:
    if not _is_grid(names["job"]) or names["kind"] not in DOWNLOADS:
        return None
    path: Path = getattr(locate_grid(workspace, names["job"]), DOWNLOADS[names["kind"]])
    return path


def _is_grid(job_id: str) -> bool:
    return bool(JOB_ID.fullmatch(job_id)) and job_id.startswith(f"{GRID}-")


def _find_export(workspace: Workspace, names: dict[str, str]) -> Path | None:
    run = workspace.find_run(names["run"])
    return next((path for path in run.list_exports() if path.name == names["name"]), None)


def _find_word(workspace: Workspace, names: dict[str, str]) -> Path | None:
    export = _find_export(workspace, names)
    return find_embedding(export) if export else None


def _find_lora(workspace: Workspace, names: dict[str, str]) -> Path | None:
    return next((path for path in workspace.list_loras() if path.name == names["name"]), None)


def _find_pack(workspace: Workspace, names: dict[str, str]) -> Path | None:
    if names["kind"] not in MADE:
        return None
    opened = names["opened"]
    file = find_file(workspace, opened, f"{opened}/{names['name']}")
    if file is None or file.path.name != names["name"]:
        return None
    return find_pack_zip(workspace, file, names["kind"])


_FINDERS: dict[str, Finder] = {
    "thumbnail/{dataset}/{name}": _find_thumbnail,
    "image/{dataset}/{key}": _find_image,
    "sample/{run}/{step:int}/{index:int}": _find_sample,
    "suggestion/{run}": _find_suggestion,
    "preview/{request}/{side}": _find_preview,
    "grid/{job}/{key}": _find_grid_cell,
    "grid-file/{job}/{kind}": _find_grid,
    "export/{run}/{name}": _find_export,
    "word/{run}/{name}": _find_word,
    "lora/{name}": _find_lora,
    "pack/{kind}/{opened}/{name}": _find_pack,
}
_DOWNLOADS = {_find_export, _find_word, _find_lora, _find_pack, _find_grid}


def _answer_with(workspace: Workspace, find: Finder) -> Callable[[Request], Response]:
    # A plain function: Starlette runs it in a thread, so a slow disk does not stop the others.
    def answer(request: Request) -> Response:
        names = {key: str(value) for key, value in request.path_params.items()}
        try:
            path = find(workspace, names)
        except WorkspaceError:
            path = None
        if path is None or not path.is_file() or not _lies_inside(path, workspace.root):
            return PlainTextResponse("Not found", 404)
        if find in _DOWNLOADS:
            headers = {"cache-control": _FRESH}
            return FileResponse(path, 200, headers, "application/octet-stream", filename=path.name)
        if path.name == PROGRESS_IMAGE:
            # Replaced several times a second: a file that is sent in parts, after its size, would
            # be another one by then.
            return _answer_at_once(path)
        headers = {"cache-control": _KEEP, "content-security-policy": _SANDBOX}
        kind = _TYPES.get(path.suffix.lower())
        if kind is not None:
            return FileResponse(path, 200, headers, kind)
        copy = make_web_copy(path) if find is _find_image else None
        if copy is None:
            return PlainTextResponse("Not found", 404)
        return Response(copy, 200, headers, "image/webp")

    return answer


def _answer_at_once(path: Path) -> Response:
    try:
        content = read_bytes(path)
    except OSError:
        return PlainTextResponse("Not found", 404)
    headers = {"cache-control": _FRESH, "content-security-policy": _SANDBOX}
    return Response(content, 200, headers, "image/png")


def _lies_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
