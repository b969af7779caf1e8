"""The routes of fragments (one, and what changed of several) and of the page's scripts."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app.ui
from app.core.examples import look_once
from app.core.workspace import Workspace, WorkspaceError
from app.ui.fragments import View
from app.web.proxy import ADDRESS_SCRIPT

_MODULES = {path.name: path for path in (Path(app.ui.__file__).parent / "js").glob("*.js")}
_MAX_FRAGMENTS = 64
_GONE = "gone"
_HEADERS = {"cache-control": "private, no-store"}


def make_routes(workspace: Workspace, views: Mapping[str, View]) -> list[Route]:
    """Returns the routes.

    `GET /view/NAME/ID?...` is one fragment with its ETag; ID is the value of its first name, "-"
    for none. `GET /changes?of=/view/...&of=...` is what changed of several, in order: null, or the
    new version and HTML. `If-None-Match` holds the versions that the page has, with dots between;
    both answer 304 where nothing changed. `GET /ui/js/NAME` is a script of the page.
    """

    read_change = partial(_read_change, workspace, views)

    # Plain functions: Starlette runs them in threads, so a slow disk stops nobody else.
    def answer_changes(request: Request) -> Response:
        addresses = request.query_params.getlist("of")[:_MAX_FRAGMENTS]
        known = request.headers.get("if-none-match", "").split(".") + [""] * len(addresses)
        with look_once():
            changes = [*map(read_change, addresses, known)]
        if not any(changes):
            return Response(status_code=304, headers=_HEADERS)
        return Response(json.dumps(changes), 200, _HEADERS, "application/json")

    def answer_view(request: Request) -> Response:
        known = request.headers.get("if-none-match")
        change = read_change(f"{request.scope['raw_path'].decode()}?{request.url.query}", known)
        headers = {**_HEADERS, "etag": str(change["version"] if change else known)}
        if change is None:
            return Response(status_code=304, headers=headers)
        if change["html"] is None:
            return PlainTextResponse("Not found", 404, headers)
        return Response(change["html"], 200, headers, "text/html")

    return [
        Route("/changes", answer_changes, methods=["GET"]),
        Route("/view/{name}/{item:path}", answer_view, methods=["GET"]),
        Route("/ui/js/{name}", _answer_script, methods=["GET"]),
    ]


def _read_change(
    workspace: Workspace, views: Mapping[str, View], address: str, known: str | None
) -> dict[str, str | None] | None:
    """Returns a fragment's version and HTML (None: it is gone), None where the version is known."""
    name, params = _read_address(address)
    gone = None if known == _GONE else {"version": _GONE, "html": None}
    if name not in views:
        return gone
    try:
        version = views[name].read_version(workspace, params)
        html = None if version == known else views[name].render(workspace, params)
    except WorkspaceError:
        return gone
    return None if version == known else {"version": version, "html": html}


def _read_address(address: str) -> tuple[str, dict[str, str]]:
    """Returns the name of the view, and its values by name; `first` names the one in the path."""
    parts = urlsplit(address)
    _, _, name, item = [*parts.path.split("/", 3), "", "", "", ""][:4]
    params = dict(parse_qsl(parts.query, keep_blank_values=True))
    if first := params.pop("first", ""):
        params[first] = "" if item == "-" else unquote(item)
    return name, params


def _answer_script(request: Request) -> Response:
    path = _MODULES.get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("Not found", 404)
    # Revalidated by ETag: an update of the app must not meet yesterday's script.
    return FileResponse(path, 200, {"cache-control": "no-cache"}, "text/javascript")


class FirstScripts:
    """Puts a script and a module before all of the page's: modules run in the page's order."""

    def __init__(self, app: ASGIApp, script: str, module: str) -> None:
        tags = f'{ADDRESS_SCRIPT}<script src="./ui/js/{script}"></script>'
        tags += f'<script type="module" src="./ui/js/{module}"></script>'
        tags += '<link rel="icon" href="./favicon.ico">'  # else a browser asks for the host's
        self.app, self.tags = app, f"<head>{tags}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on; the page comes back with the scripts."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self.app({**scope, "headers": plain}, receive, collect)
        start, *parts = messages
        body = b"".join(part.get("body", b"") for part in parts).replace(b"<head>", self.tags, 1)
        headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})
