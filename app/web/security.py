"""What stands in front of the whole app: who may ask, from where, how much, and with a password.

Nothing answers without a session where there is a password, not even an image: Gradio's own login
leaves some routes open and knows nothing of ours.
"""

import asyncio
import hmac
import secrets
import socket
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.text import APP_NAME
from app.core.workspace import MAX_UPLOAD_TOTAL_BYTES
from app.ui.markup import element, join
from app.web import text as server_text
from app.web.proxy import ADDRESS_SCRIPT, is_named, name_of
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


LOGIN_PATH = "/lorasmith-login"
_COOKIE = "lorasmith-session"
_MAX_FORM_BYTES = 4096
_SESSION_SECONDS = 7 * 24 * 3600
# Gradio asks itself this at the start and learns nothing but "yes".
_OPEN_PATHS = {"/gradio_api/startup-events"}


class PasswordGuard:
    """Lets in who has the session cookie; shows the others a form."""

    def __init__(self, app: ASGIApp, password: str, delay_seconds: float = 1.0) -> None:
        self.app = app
        self.password = password.encode()
        self.delay_seconds = delay_seconds
        self.sessions: dict[str, float] = {}
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on, or answers with the form."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.url.path in _OPEN_PATHS or self._knows(request):
            await self.app(scope, receive, send)
            return
        answer: Response
        if request.url.path == LOGIN_PATH and request.method == "POST":
            answer = await self._log_in(request)
        elif "text/html" in request.headers.get("accept", "") or request.url.path == "/":
            answer = HTMLResponse(_make_form(request.url.path), 401)
        else:
            answer = PlainTextResponse(server_text.LOGIN_HEADING, 401)
        await answer(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        try:
            cookie = SimpleCookie(request.headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        started = self.sessions.get(cookie.value) if cookie else None
        return started is not None and time.monotonic() - started < _SESSION_SECONDS

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return PlainTextResponse(server_text.LOGIN_WRONG, 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0].encode()
        # One at a time, and slowly after a wrong one: guessing in parallel gains nothing.
        async with self._one_at_a_time:
            if not hmac.compare_digest(given, self.password):
                await asyncio.sleep(self.delay_seconds)
                return HTMLResponse(_make_form(LOGIN_PATH, server_text.LOGIN_WRONG), 401)
        session = secrets.token_urlsafe(32)
        self.sessions[session] = time.monotonic()
        # Relative, and a cookie for the folder of this address: a proxy may have put a path before.
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            _COOKIE, session, max_age=_SESSION_SECONDS, path=None, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer


def _make_form(path: str, message: str = "") -> str:
    field = element(
        "input", id="password", name="password", type="password", required=True, autofocus=True,
        autocomplete="current-password",
    )  # fmt: skip
    form = element(
        "form",
        element("h1", APP_NAME),
        element("p", server_text.LOGIN_HEADING),
        element("p", message, role="alert") if message else "",
        element("label", server_text.LOGIN_LABEL, for_="password"),
        field,
        element("button", server_text.LOGIN_BUTTON, type="submit"),
        method="post",
        action="../" * (path.count("/") - 1) + LOGIN_PATH[1:],
    )
    style = (
        "body{font:16px system-ui;display:grid;place-items:center;min-height:90vh}"
        "form{display:grid;gap:.6rem;max-width:22rem}input,button{font:inherit;padding:.5rem}"
        "button{background:#1d4ed8;color:#fff;border:0;border-radius:.4rem}"
    )
    head = element(
        "head",
        element("title", APP_NAME),
        element("link", rel="icon", href="data:,"),  # else a browser asks the host for its own
        element("meta", name="viewport", content="width=device-width"),
        element("style", style),
    )
    page = join("", element("html", head, element("body", element("main", form)), lang="en"))
    return f"{ADDRESS_SCRIPT if path == '/' else ''}{page}"
