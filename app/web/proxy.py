"""Behind a proxy: the names by which people reach the app, and the path in front of its own.

The page needs neither, because all its addresses are relative to its own. The server does: it
answers to known names only, cuts a path prefix that the proxy passes on, and marks its cookie as
secure where the browser uses https. The proxy's `X-Forwarded-…` headers count only in requests for
a name that was given with --host-name; in all others they are dropped.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = re.compile(r"(/[A-Za-z0-9._~@%-]+)*")
_FORWARDED = (b"x-forwarded-", b"forwarded", b"x-gradio-server")
# Relative addresses need the slash at the end that people leave out.
ADDRESS_SCRIPT = (
    "<script>location.pathname.endsWith('/')||"
    "history.replaceState(null,'',location.pathname+'/'+location.search)</script>"
)


class ProxyHeaders:
    """Gives a request the host, scheme and path that it would have without the proxy."""

    def __init__(self, app: ASGIApp, host_names: Iterable[str] = (), root_path: str = "") -> None:
        self.app = app
        self.names = frozenset(name_of(one) for one in host_names)
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            scope = self._translate(scope)
        await self.app(scope, receive, send)

    def _translate(self, scope: Scope) -> Scope:
        headers = Headers(scope=scope)
        first = {name: headers.get(f"x-forwarded-{name}", "").split(",")[0].strip()
                 for name in ("host", "proto", "prefix")}  # fmt: skip
        named = [host for host in (first["host"], headers.get("host", "")) if self._knows(host)]
        remaining = [
            pair for pair in scope["headers"] if not pair[0].lower().startswith(_FORWARDED)
        ]
        prefix, scheme = self.root_path, "http"
        if named:
            scheme = "https" if first["proto"] == "https" else "http"
            prefix = prefix or read_prefix(first["prefix"])
            # Gradio makes addresses of files from these.
            added = {"host": named[0], "x-forwarded-host": f"{named[0]}{prefix}"}
            added["x-forwarded-proto"] = scheme
            remaining = [pair for pair in remaining if pair[0].lower() != b"host"]
            remaining += [(name.encode(), value.encode("latin-1")) for name, value in added.items()]
        return {**scope, "headers": remaining, "scheme": scheme, **_cut(scope, prefix)}

    def _knows(self, host: str) -> bool:
        return bool(host) and name_of(host) in self.names


def name_of(host: str) -> str:
    """Returns the name in a Host header, without its port; "" where there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def read_prefix(path: str) -> str:
    """Returns a path prefix without the slash at its end; "" where it is none."""
    path = path.rstrip("/")
    return path if _PREFIX.fullmatch(path) else ""


def is_named(origin: str, host_names: Iterable[str]) -> bool:
    """Whether an Origin is one of the names, with its port where that is an unusual one."""
    return _plain(urlsplit(origin).netloc) in {_plain(name) for name in host_names}


def _plain(place: str) -> str:
    return place.lower().removesuffix(":443").removesuffix(":80")


def _cut(scope: Scope, prefix: str) -> dict[str, object]:
    path: str = scope["path"]
    if not prefix or not (path == prefix or path.startswith(f"{prefix}/")):
        return {}
    # Letters may be encoded there, so folders are counted.
    raw: bytes = scope.get("raw_path") or path.encode()
    rest = raw.split(b"/")[1 + prefix.count("/") :]
    return {"path": path[len(prefix) :] or "/", "raw_path": b"/" + b"/".join(rest)}
