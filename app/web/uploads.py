"""What a browser sends: uploads within their quota, and events that name no address to fetch."""

import contextlib
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web import text
from datasets_tools.bounded_json import UnreadableError, parse_json
from datasets_tools.disk import remove_quietly

UPLOAD_PATH = "/gradio_api/upload"
EVENT_PATH = "/gradio_api/"
MAX_EVENT_BYTES = 16 * 1024**2
_ADDRESSES = ("http:", "https:", "ftp:", "//")


class UploadQuota:
    """Counts uploads as they arrive, together with those that others announced.

    Args:
        folder: Gradio's own, where what arrives lies until it is imported.
        most: How many bytes may lie there.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self._announced = 0
        self._active = 0
        self._broken = False

    def refuse(self, request: Request) -> PlainTextResponse | None:
        """Returns the refusal of an upload that has no size or is too large; None lets it in."""
        length = request.headers.get("content-length", "")
        # With both, the length is not the one that counts.
        if not length.isdecimal() or "transfer-encoding" in request.headers:
            return PlainTextResponse(text.NO_LENGTH, 411)
        if len(length) > 15 or int(length) > self.most:
            return PlainTextResponse(text.UPLOAD_TOO_LARGE, 413)
        if count_bytes(self.folder) + self._announced + int(length) > self.most:
            return PlainTextResponse(text.UPLOADS_FULL, 413)
        return None

    async def receive_upload(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Passes an upload on; one that does not come to its end leaves nothing behind."""
        left = announced = int(Request(scope).headers["content-length"])
        ended = False
        self._announced += announced
        self._active += 1

        async def count() -> Message:
            nonlocal left, ended
            message = await receive()
            size = len(message.get("body", b""))
            # What has arrived lies in the folder and is counted there.
            self._announced -= min(size, left)
            left -= min(size, left)
            ended = ended or (message["type"] == "http.request" and not message.get("more_body"))
            return message

        try:
            await app(scope, count, send)
        finally:
            self._announced -= left
            self._active -= 1
            self._broken = self._broken or not ended
            if self._broken:
                self._remove_half()

    def _remove_half(self) -> None:
        """Removes the files of uploads that were broken off; whole ones lie in folders."""
        if self._active:
            return  # nobody knows which of them is whose: the last one cleans up
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.is_file():
                    remove_quietly(path)
        self._broken = False


async def refuse_addresses(receive: Receive) -> tuple[PlainTextResponse | None, Receive]:
    """Reads an event, which must name no file by an address: Gradio would fetch it.

    Returns:
        The refusal or None, and what the event can be read from again.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_EVENT_BYTES:
            return PlainTextResponse(text.EVENT_TOO_LARGE, 413), receive
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    refusal = None
    try:
        if body and _names_address(parse_json(bytes(body))):
            refusal = PlainTextResponse(text.NO_ADDRESSES, 400)
    except UnreadableError:
        refusal = PlainTextResponse(text.EVENT_DAMAGED, 400)
    sent = False

    async def read_again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return refusal, read_again


def count_bytes(folder: Path) -> int:
    """Returns the size of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # deleted in this moment
            total += path.stat().st_size if path.is_file() else 0
    return total


def _names_address(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_names_address, value))
    if not isinstance(value, dict):
        return False
    path = value.get("path")
    if isinstance(path, str) and path.strip().lower().startswith(_ADDRESSES):
        return True
    return any(map(_names_address, value.values()))
