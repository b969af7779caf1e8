"""The password door: nothing of the app answers without a session, not even a picture.

Gradio's own login leaves some routes open and knows nothing of ours, so this stands in front.
"""

import asyncio
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.text import APP_NAME
from app.ui.markup import element, join
from app.web import text as server_text

LOGIN_PATH = "/lorasmith-login"
_COOKIE = "lorasmith-session"
_MAX_FORM_BYTES = 4096
_SESSION_SECONDS = 7 * 24 * 3600
# Gradio asks itself this at the start and learns nothing but "yes".
_OPEN_PATHS = {"/gradio_api/startup-events"}


class PasswordDoor:
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
            answer = HTMLResponse(_make_form(), 401)
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
                return HTMLResponse(_make_form(server_text.LOGIN_WRONG), 401)
        session = secrets.token_urlsafe(32)
        self.sessions[session] = time.monotonic()
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            _COOKIE, session, max_age=_SESSION_SECONDS, httponly=True, samesite="strict"
        )
        return answer


def _make_form(message: str = "") -> str:
    form = element(
        "form",
        element("h1", APP_NAME),
        element("p", server_text.LOGIN_HEADING),
        element("p", message, role="alert") if message else "",
        element("label", server_text.LOGIN_LABEL, for_="password"),
        element(
            "input",
            id="password",
            name="password",
            type="password",
            required=True,
            autofocus=True,
            autocomplete="current-password",
        ),
        element("button", server_text.LOGIN_BUTTON, type="submit"),
        method="post",
        action=LOGIN_PATH,
    )
    style = (
        "body{font:16px system-ui;display:grid;place-items:center;min-height:90vh}"
        "form{display:grid;gap:.6rem;max-width:22rem}input,button{font:inherit;padding:.5rem}"
        "button{background:#1d4ed8;color:#fff;border:0;border-radius:.4rem}"
    )
    head = element(
        "head",
        element("title", APP_NAME),
        element("meta", name="viewport", content="width=device-width"),
        element("style", style),
    )
    return join("", element("html", head, element("body", element("main", form)), lang="en"))
