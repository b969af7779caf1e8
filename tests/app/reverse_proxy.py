"""A small reverse proxy in a thread: what RunPod, Colab or nginx put in front of the app."""

import contextlib
import threading
import time

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

# Of one connection, so they are not passed on.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]


class ReverseProxy:
    """Passes on what lies below a path, and notes what was asked outside of it.

    `cuts` is whether the app sees addresses without the path, `tells` whether it is told of the
    proxy: the Host is the browser's, and the X-Forwarded headers are set.
    """

    def __init__(self, target, path, cuts, tells):
        self.target, self.path, self.cuts, self.tells = target, path, cuts, tells
        self.outside = []
        self.client = httpx.AsyncClient(timeout=None)

    async def forward(self, request):
        raw = request.scope["raw_path"].decode()
        if not f"{raw}/".startswith(f"{self.path}/"):
            self.outside.append(raw)
            return PlainTextResponse("Another program is here", 404)
        address = (raw.removeprefix(self.path) or "/") if self.cuts else raw
        headers = {name: value for name, value in request.headers.items() if name not in HOP}
        if "content-length" in request.headers:
            headers["content-length"] = request.headers["content-length"]
        if self.tells:
            host = request.headers["host"]
            headers |= {"host": host, "x-forwarded-host": host, "x-forwarded-proto": "http"}
            headers |= {"x-forwarded-prefix": self.path}
        url = f"{self.target}{address}?{request.url.query}".removesuffix("?")
        content = request.stream() if request.method in {"POST", "PUT"} else None
        sent = self.client.build_request(request.method, url, headers=headers, content=content)
        answer = await self.client.send(sent, stream=True)
        given = [(n, v) for n, v in answer.headers.multi_items() if n not in HOP]
        made = StreamingResponse(answer.aiter_raw(), answer.status_code)
        made.raw_headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in given]
        return made


@contextlib.contextmanager
def proxying(target, port, path="", *, cuts, tells):
    """Runs a proxy for the app on a port; yields it."""
    proxy = ReverseProxy(target, path, cuts, tells)
    site = Starlette(routes=[Route("/{path:path}", proxy.forward, methods=METHODS)])
    server = uvicorn.Server(uvicorn.Config(site, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the proxy ended"
        time.sleep(0.01)
    try:
        yield proxy
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)
