"""The routes of fragments (their versions, and the HTML of one) and of the page's scripts."""

import hashlib
import json
from collections.abc import Mapping
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

_MODULES = {path.name: path for path in (Path(app.ui.__file__).parent / "js").glob("*.js")}
_MAX_FRAGMENTS = 64
_HEADERS = {"cache-control": "private, no-store"}


def make_routes(workspace: Workspace, views: Mapping[str, View]) -> list[Route]:
    """Returns the routes.

    `GET /versions?of=/view/...&of=...` is the versions of several fragments, in order.
    `GET /view/NAME/ID?...` is one fragment; ID is the value of its first name, "-" for none. Both
    carry an ETag and answer 304 where `If-None-Match` holds it. `GET /ui/js/NAME` is a script of
    the page; a name that is not one of them is not found.
    """

    # Plain functions: Starlette runs them in threads, so a slow disk stops nobody else.
    def answer_versions(request: Request) -> Response:
        addresses = request.query_params.getlist("of")[:_MAX_FRAGMENTS]
        with look_once():
            versions = [_read_version(workspace, views, address) for address in addresses]
        tag = hashlib.blake2b("\n".join(versions).encode(), digest_size=8).hexdigest()
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_HEADERS, "etag": tag})
        return Response(json.dumps(versions), 200, {**_HEADERS, "etag": tag}, "application/json")

    def answer_view(request: Request) -> Response:
        name, item = request.path_params["name"], request.path_params["item"]
        view = views.get(name)
        if view is None:
            return Response("Not found", 404)
        params = _read_params(item, request.query_params.get("first", ""), request.query_params)
        try:
            version = view.read_version(workspace, params)
            if request.headers.get("if-none-match") == version:
                return Response(status_code=304, headers={**_HEADERS, "etag": version})
            content = view.render(workspace, params)
        except WorkspaceError as error:
            return Response(str(error), 404, {**_HEADERS}, "text/plain")
        return Response(content, 200, {**_HEADERS, "etag": version}, "text/html")

    return [
        Route("/versions", answer_versions, methods=["GET"]),
        Route("/view/{name}/{item:path}", answer_view, methods=["GET"]),
        Route("/ui/js/{name}", _answer_script, methods=["GET"]),
    ]


def _read_version(workspace: Workspace, views: Mapping[str, View], address: str) -> str:
    parts = urlsplit(address)
    _, _, name, item = [*parts.path.split("/", 3), "", "", "", ""][:4]
    view = views.get(name)
    if view is None:
        return ""
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    try:
        return view.read_version(
            workspace, _read_params(unquote(item), query.get("first", ""), query)
        )
    except WorkspaceError:
        return ""


def _read_params(item: str, first: str, query: Mapping[str, str]) -> dict[str, str]:
    """Returns a fragment's values by name; `first` is the name of the one in the path."""
    params = {name: value for name, value in query.items() if name != "first"}
    if first:
        params[first] = "" if item == "-" else item
    return params


def _answer_script(request: Request) -> Response:
    path = _MODULES.get(request.path_params["name"])
    if path is None:
        return PlainTextResponse("Not found", 404)
    # Revalidated by ETag: an update of the app must not meet yesterday's script.
    return FileResponse(path, 200, {"cache-control": "no-cache"}, "text/javascript")


class FirstScripts:
    """Puts a script and a module before all of the page's: modules run in the page's order."""

    def __init__(self, app: ASGIApp, script: str, module: str) -> None:
        tags = f'<script src="/ui/js/{script}"></script>'
        tags += f'<script type="module" src="/ui/js/{module}"></script>'
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
