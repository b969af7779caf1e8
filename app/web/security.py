"""What stands in front of the whole app: who may ask, from where, and how much."""

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
from app.web.proxy import is_named, name_of
from app.web.uploads import EVENT_PATH, UPLOAD_PATH, UploadQuota, refuse_addresses

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Gradio's routes that fetch addresses for the visitor, or that nothing here uses.
_CLOSED = ("/gradio_api/file=http", "/gradio_api/proxy=", "/gradio_api/deep_link", "/monitoring")
_READING = {"GET", "HEAD", "OPTIONS"}
# A proxy must not hold back events until there are many.
_UNBUFFERED = (b"x-accel-buffering", b"no")
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
        host_names: Iterable[str] = (),
    ) -> None:
        self.app = app
        self.host_names = tuple(host_names)
        self.hosts = frozenset(host.lower() for host in hosts)
        self.hosts |= {name_of(name) for name in self.host_names}
        self.quota = UploadQuota(uploads, max_upload_bytes)

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
                if (b"content-type", b"text/event-stream") in _read_kinds(message):
                    added.append(_UNBUFFERED)
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in added if pair[0] not in names),
                ]
            await send(message)

        path = _plain(scope["path"])
        if refusal is None and scope["method"] == "POST" and path.startswith(EVENT_PATH):
            if path.startswith(UPLOAD_PATH):
                await self.quota.receive_upload(self.app, scope, receive, send_with_headers)
                return
            refusal, receive = await refuse_addresses(receive)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> PlainTextResponse | None:
        host = request.headers.get("host", "")
        if name_of(host) not in self.hosts:
            return PlainTextResponse(server_text.WRONG_HOST, 400)
        if _is_foreign(request, host, self.host_names):
            return PlainTextResponse(server_text.WRONG_ORIGIN, 403)
        path = _plain(request.url.path)
        if path.startswith(_CLOSED):
            return PlainTextResponse("Not found", 404)
        if path.startswith(UPLOAD_PATH) and request.method == "POST":
            return self.quota.refuse(request)
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


def _is_foreign(request: Request, host: str, host_names: Iterable[str]) -> bool:
    origin = request.headers.get("origin")
    if origin is not None:  # a browser sends it with all that changes something or reads across
        # A proxy may give the app another Host than the browser's.
        same = urlsplit(origin).netloc.lower() == host.lower()
        return not same and not is_named(origin, host_names)
    # Following a link from another site to the app is reading, and welcome.
    crossing = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    return crossing and request.method not in _READING


def _read_kinds(message: Message) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.split(b";")[0].strip()) for name, value in message["headers"]]


def _plain(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path.lower()
