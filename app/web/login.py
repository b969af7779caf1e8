"""The password: nothing answers without a session, not even an image.

Gradio's own login leaves some routes open and knows nothing of ours.
"""

import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address, ip_address
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.text import APP_NAME
from app.ui.markup import element, join
from app.web import text as server_text
from app.web.proxy import ADDRESS_SCRIPT

LOGIN_PATH, LOGOUT_PATH = "/lorasmith-login", "/lorasmith-logout"
_COOKIE = "lorasmith-session"
_MAX_FORM_BYTES = 4096
_SESSION_SECONDS = 7 * 24 * 3600
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
_MOST_ADDRESSES = 10_000
# Gradio asks itself this at the start and learns nothing but "yes".
_OPEN_PATHS = {"/gradio_api/startup-events"}


class WrongGuesses:
    """Makes whoever guesses a password wait, and nobody else.

    After each wrong one the next is looked at only after twice as long as before, from one second
    to a minute. IPv6 gives each person 2^64 addresses, so a network of that size counts as one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Address: how many in a row, and when the next one is looked at; the newest is last.
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_of(self, address: str) -> float:
        """Returns for how many seconds an address has to wait."""
        _, until = self._known.get(_read_network(address), (0, 0.0))
        return max(0.0, until - self._clock())

    def add(self, address: str) -> float:
        """Notes a wrong guess; returns for how many seconds the address has to wait."""
        network = _read_network(address)
        count, _ = self._known.pop(network, (0, 0.0))
        delay = min(_FIRST_DELAY * 2.0**count, _LONGEST_DELAY)
        self._known[network] = (min(count + 1, 10), self._clock() + delay)
        if len(self._known) > _MOST_ADDRESSES:
            self._known.popitem(last=False)
        return delay

    def forget(self, address: str) -> None:
        """Drops what is known of an address that has given the right one."""
        self._known.pop(_read_network(address), None)


def _read_network(address: str) -> str:
    try:
        read = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(read, IPv6Address):
        return str(read.ipv4_mapped or int(read) >> 64)
    return str(read)


class PasswordGuard:
    """Lets in who has the session cookie; shows the others a form."""

    def __init__(
        self, app: ASGIApp, password: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app = app
        self.password = password.encode()
        self.sessions: dict[str, float] = {}
        self.guesses = WrongGuesses(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on, or answers with the form."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        posts = request.method == "POST"
        if posts and request.url.path == LOGOUT_PATH:
            await self._log_out(request)(scope, receive, send)
            return
        if request.url.path in _OPEN_PATHS or self._knows(request):
            await self.app(scope, receive, send)
            return
        answer: Response
        if posts and request.url.path == LOGIN_PATH:
            answer = await self._log_in(request)
        elif "text/html" in request.headers.get("accept", "") or request.url.path == "/":
            answer = HTMLResponse(_make_form(request.url.path), 401)
        else:
            answer = PlainTextResponse(server_text.LOGIN_HEADING, 401)
        await answer(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        started = self.sessions.get(_read_cookie(request))
        return started is not None and time.monotonic() - started < _SESSION_SECONDS

    async def _log_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return PlainTextResponse(server_text.LOGIN_TOO_LONG, 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0].encode()
        address = request.client.host if request.client else ""
        # Not even a right one is looked at: the answer would help whoever goes on guessing.
        if wait := self.guesses.wait_of(address):
            return _refuse_guess(429, wait)
        if not hmac.compare_digest(given, self.password):
            return _refuse_guess(401, self.guesses.add(address))
        self.guesses.forget(address)
        self._drop_old_sessions()
        session = secrets.token_urlsafe(32)
        self.sessions[session] = time.monotonic()
        # Relative, and a cookie for the folder of this address: a proxy may have put a path before.
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            _COOKIE, session, max_age=_SESSION_SECONDS, path=None, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def _log_out(self, request: Request) -> Response:
        self.sessions.pop(_read_cookie(request), None)
        answer = RedirectResponse("./", 303)
        # Where it was set, so without a path.
        answer.set_cookie(_COOKIE, "", max_age=0, path=None, httponly=True, samesite="strict")
        return answer

    def _drop_old_sessions(self) -> None:
        end = time.monotonic() - _SESSION_SECONDS
        self.sessions = {each: since for each, since in self.sessions.items() if since > end}


def _read_cookie(request: Request) -> str:
    try:
        cookie = SimpleCookie(request.headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _refuse_guess(status: int, wait: float) -> HTMLResponse:
    seconds = math.ceil(wait)
    message = server_text.login_wrong(seconds) if status == 401 else server_text.login_wait(seconds)
    form = _make_form(LOGIN_PATH, message)
    return HTMLResponse(form, status, {"retry-after": str(seconds)})


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
