"""The routes of the caption editor: a caption or a trigger word is read with its revision (GET),
and saved if it still has it (PUT with If-Match).

    GET /captions/DATASET/KEY     200 with the text, its revision as ETag, and what is shown beside
                                  it; 304 where If-None-Match holds the revision; 404
    PUT /captions/DATASET/KEY     {"text": "..."}; 200 with the new revision, 404 where the image is
                                  gone, 412 with the newer text where somebody else changed it, 422
                                  where it cannot be written, 428 without If-Match
    GET, PUT /trigger/DATASET     the same for the trigger word
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.core.workspace import Workspace, WorkspaceError
from app.dataset.captions import (
    EditedText,
    Saved,
    open_caption,
    open_trigger,
    save_caption,
    save_trigger,
)
from app.web import text
from datasets_tools.errors import LorasmithError

# Of JSON, in which a letter may take six bytes; a caption may have 256 KB.
MAX_BODY_BYTES = 2 * 1024 * 1024
_HEADERS = {"cache-control": "private, no-store"}
_STATUS = {"saved": 200, "unchanged": 200, "conflict": 412, "gone": 404, "refused": 422}

Open = Callable[..., EditedText]
Save = Callable[..., Saved]


class BadRequestError(LorasmithError):
    """A request that cannot be understood, with the status for it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def make_routes(workspace: Workspace) -> list[Route]:
    """Returns the routes."""
    return [
        _make_route(workspace, "/captions/{dataset}/{key}", open_caption, save_caption),
        _make_route(workspace, "/trigger/{dataset}", open_trigger, save_trigger),
    ]


def _make_route(workspace: Workspace, path: str, open_text: Open, save_text: Save) -> Route:
    async def answer(request: Request) -> Response:
        names = [str(value) for value in request.path_params.values()]
        try:
            if request.method == "PUT":
                revision, content = _read_revision(request), await _read_text(request)
                saved = await run_in_threadpool(save_text, workspace, *names, revision, content)
                return _answer_saved(saved)
            opened = await run_in_threadpool(open_text, workspace, *names)
        except BadRequestError as error:
            return _answer({"message": str(error)}, error.status)
        except WorkspaceError as error:
            return _answer({"message": str(error)}, 404)
        tag = {"etag": f'"{opened.revision}"'}
        if request.headers.get("if-none-match") == tag["etag"]:
            return Response(status_code=304, headers={**_HEADERS, **tag})
        return _answer(asdict(opened), 200, tag)

    return Route(path, answer, methods=["GET", "PUT"])


def _answer_saved(saved: Saved) -> Response:
    tag = {"etag": f'"{saved.revision}"'} if saved.revision else {}
    return _answer(asdict(saved), _STATUS[saved.outcome], tag)


def _answer(
    content: dict[str, Any], status: int, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse(content, status, {**_HEADERS, **(headers or {})})


def _read_revision(request: Request) -> str:
    """Returns the revision that the text was made from, which whoever saves must name."""
    revision = request.headers.get("if-match")
    if revision is None:
        raise BadRequestError(428, text.NO_REVISION)
    return revision.strip('"')


async def _read_text(request: Request) -> str:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequestError(415, text.NOT_JSON)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BadRequestError(413, text.TEXT_TOO_LARGE)
    try:
        content = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadRequestError(400, text.NOT_JSON) from error
    if not isinstance(content, str):
        raise BadRequestError(400, text.NOT_JSON)
    return content
