"""Uploads are counted as they arrive, and events name no address that Gradio would fetch."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.responses import PlainTextResponse

from app.web.security import LOOPBACK, Guard

HOST = (b"host", b"127.0.0.1:7860")


def run_apart(work):
    """Runs a coroutine in a thread: a browser of other tests may have a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def store(scope, receive, send):
    """Does as Gradio: what arrives goes into a loose file, which moves into a folder at the end."""
    folder = scope["folder"]
    loose = folder / f"tmp{scope['number']}"
    with loose.open("wb") as file:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            file.write(message.get("body", b""))
            file.flush()
            if not message.get("more_body"):
                break
    (folder / f"whole-{scope['number']}").mkdir()
    loose.rename(folder / f"whole-{scope['number']}" / "x.png")
    await PlainTextResponse("stored")(scope, receive, send)


class Client:
    """An upload whose pieces arrive when the test sends them."""

    def __init__(self, guard, folder, number, headers, path="/gradio_api/upload"):
        self.pieces, self.status, self.body = asyncio.Queue(), 0, b""
        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"",
            "headers": [HOST, *headers], "folder": folder, "number": number,
        }  # fmt: skip
        self.task = asyncio.create_task(guard(scope, self.pieces.get, self.send))

    async def send(self, message):
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def post(self, body, *, more=False):
        await self.pieces.put({"type": "http.request", "body": body, "more_body": more})
        for _ in range(20):
            await asyncio.sleep(0)

    async def leave(self):
        await self.pieces.put({"type": "http.disconnect"})
        await self.task


def sized(length):
    return [(b"content-length", str(length).encode())]


@pytest.fixture
def guard(tmp_path):
    return Guard(store, LOOPBACK, tmp_path, max_upload_bytes=1000)


def test_a_length_beside_a_chunked_body_is_refused(guard, tmp_path):
    async def attack():
        headers = [*sized(10), (b"transfer-encoding", b"chunked")]
        client = Client(guard, tmp_path, 1, headers)
        await client.task
        return client.status

    assert run_apart(attack()) == 411
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", ["9" * 5000, "1001", "-1", "1e3", ""])
def test_a_length_beyond_the_quota_is_refused(guard, tmp_path, length):
    async def attack():
        client = Client(guard, tmp_path, 1, [(b"content-length", length.encode())])
        await client.task
        return client.status

    assert run_apart(attack()) in {411, 413}


def test_uploads_that_are_announced_at_once_share_the_quota(guard, tmp_path):
    async def attack():
        clients = [Client(guard, tmp_path, number, sized(400)) for number in range(4)]
        await asyncio.sleep(0)
        refused = [client.status for client in clients]
        for client in clients[:2]:
            await client.post(b"x" * 400)
            await client.task
        return refused, [client.status for client in clients]

    refused, statuses = run_apart(attack())
    assert refused == [0, 0, 413, 413]
    assert statuses == [200, 200, 413, 413]


def test_what_arrived_is_not_counted_twice(guard, tmp_path):
    async def send():
        first = Client(guard, tmp_path, 1, sized(600))
        await first.post(b"x" * 300, more=True)
        second = Client(guard, tmp_path, 2, sized(400))  # 300 lie there, 300 and 400 are to come
        await second.post(b"x" * 400)
        third = Client(guard, tmp_path, 3, sized(1))
        await third.task
        await first.post(b"x" * 300)
        await first.task
        return first.status, second.status, third.status

    assert run_apart(send()) == (200, 200, 413)


def test_an_upload_that_is_broken_off_leaves_nothing_and_blocks_nobody(guard, tmp_path):
    async def send():
        whole = Client(guard, tmp_path, 0, sized(100))
        await whole.post(b"x" * 100)
        await whole.task
        broken = Client(guard, tmp_path, 1, sized(900))
        await broken.post(b"x" * 500, more=True)
        assert (tmp_path / "tmp1").stat().st_size == 500
        await broken.leave()
        after = Client(guard, tmp_path, 2, sized(900))
        await after.post(b"x" * 900)
        await after.task
        return after.status

    assert run_apart(send()) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole-0", "whole-2"]


def test_a_broken_upload_leaves_the_others_alone(guard, tmp_path):
    async def send():
        going = Client(guard, tmp_path, 1, sized(400))
        await going.post(b"x" * 200, more=True)
        broken = Client(guard, tmp_path, 2, sized(400))
        await broken.post(b"x" * 200, more=True)
        await broken.leave()
        await going.post(b"x" * 200)
        await going.task
        return going.status

    assert run_apart(send()) == 200
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1"]


async def answer(scope, receive, send):
    message = await receive()
    await PlainTextResponse(message["body"])(scope, receive, send)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"data": ["text", 1, None]}, 200),
        ({"data": [{"path": "/tmp/x.png", "url": "http://127.0.0.1/x"}]}, 200),
        ({"data": ["http://example.org"]}, 200),
        ({"data": [{"path": "http://10.0.0.1/x", "meta": {"_type": "gradio.FileData"}}]}, 400),
        ({"data": [[{"a": {"path": " HTTPS://example.org/x"}}]]}, 400),
        ("[" * 100_000, 400),
        ("no JSON", 400),
        ("", 200),
    ],
)  # fmt: skip
def test_an_event_names_no_address(tmp_path, data, status):
    body = (data if isinstance(data, str) else json.dumps(data)).encode()
    guard = Guard(answer, LOOPBACK, tmp_path)

    async def post():
        client = Client(guard, tmp_path, 1, [], "/gradio_api/queue/join")
        await client.post(body[:5], more=True)
        await client.post(body[5:])
        await client.task
        return client.status, client.body

    found, came = run_apart(post())
    assert found == status
    assert status != 200 or came == body


def test_an_escaped_address_is_an_address(tmp_path):
    body = rb'{"data": [{"\u0070ath": "\u0068ttp://x"}]}'
    guard = Guard(answer, LOOPBACK, tmp_path)

    async def post():
        client = Client(guard, tmp_path, 1, [], "//gradio_api/run/predict")
        await client.post(body)
        await client.task
        return client.status

    assert run_apart(post()) == 400
