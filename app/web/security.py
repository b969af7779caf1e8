"""The guard in front of the whole app: who may ask, from where, and how much may be sent."""

import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.workspace import MAX_UPLOAD_TOTAL_BYTES
from app.web import text as server_text

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UPLOAD_PATH = "/gradio_api/upload"
# Gradio's routes that fetch addresses for the visitor, or that nothing here uses.
_CLOSED = ("/gradio_api/file=http", "/gradio_api/proxy=", "/gradio_api/deep_link", "/monitoring")
_READING = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Not "no-referrer": that would turn the Origin of our own login form into "null".
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
}


class Guard:
    """Checks Host and Origin, closes routes, holds upload quotas and sets headers.

    A page of another site can make a browser talk to 127.0.0.1, directly or by letting its own
    name point there. The first shows in Origin, the second in Host.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Iterable[str],
        uploads: Path,
        max_upload_bytes: int = MAX_UPLOAD_TOTAL_BYTES,
    ) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.uploads = uploads
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes on with headers added to the answer."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the app has no websockets; silence closes the connection
        refusal = self._refuse(Request(scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in added if pair[0] not in names),
                ]
            await send(message)

        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> PlainTextResponse | None:
        host = request.headers.get("host", "")
        if _name_of(host) not in self.hosts:
            return PlainTextResponse(server_text.WRONG_HOST, 400)
        if _is_foreign(request, host):
            return PlainTextResponse(server_text.WRONG_ORIGIN, 403)
        path = _plain(request.url.path)
        if path.startswith(_CLOSED):
            return PlainTextResponse("Not found", 404)
        if path.startswith(UPLOAD_PATH) and request.method == "POST":
            return self._refuse_upload(request)
        return None

    def _refuse_upload(self, request: Request) -> PlainTextResponse | None:
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse(server_text.NO_LENGTH, 411)
        if int(length) > self.max_upload_bytes:
            return PlainTextResponse(server_text.UPLOAD_TOO_LARGE, 413)
        if _count_bytes(self.uploads) + int(length) > self.max_upload_bytes:
            return PlainTextResponse(server_text.UPLOADS_FULL, 413)
        return None


def list_hosts(host: str) -> frozenset[str]:
    """Returns the names that a browser may call a server by that listens on `host`."""
    if host in LOOPBACK:
        return LOOPBACK
    if host not in {"0.0.0.0", "::"}:
        return LOOPBACK | {host.lower()}
    name = socket.gethostname().lower()
    addresses = {
        one.address.split("%")[0].lower()
        for group in psutil.net_if_addrs().values()
        for one in group
        if one.family in {socket.AF_INET, socket.AF_INET6}
    }
    return LOOPBACK | addresses | {name, f"{name}.local"}


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_foreign(request: Request, host: str) -> bool:
    origin = request.headers.get("origin")
    if origin is not None:  # a browser sends it with all that changes something or reads across
        return urlsplit(origin).netloc.lower() != host.lower()
    # Following a link from another site to the app is reading, and welcome.
    crossing = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    return crossing and request.method not in _READING


def _plain(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path.lower()


def _count_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # deleted in this moment
    return total
