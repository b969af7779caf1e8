"""A hub on this computer that takes uploads as the real one does: repository, files, commit."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_LARGE = (".safetensors", ".png")


class UploadHub:
    """What was sent.

    Attributes:
        created: The bodies of requests for a new repository.
        cards: Model cards that were sent for a check of their front matter.
        files: Content by name, after a commit.
        seen: (method, path, Authorization) of every request.
        refuse: Path pattern → (status, body): what is answered instead.
    """

    def __init__(self):
        self.created: list[dict] = []
        self.cards: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.refuse: dict[str, tuple[int, dict]] = {}
        self.url = ""


@contextlib.contextmanager
def serve_uploads(hub):
    """Serves until the block ends; `hub.url` is the address."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: UploadHub

    def log_message(self, format, *args):
        pass

    def do_POST(self):
        self.take()

    def do_PUT(self):
        self.take()

    def do_GET(self):
        self.take()

    def take(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.seen.append((self.command, path, self.headers.get("Authorization", "")))
        for pattern, (status, answer) in self.hub.refuse.items():
            if re.search(pattern, path):
                return self.answer(answer, status)
        for pattern, reply in _REPLIES.items():
            if re.search(pattern, path):
                return self.answer(*reply(self.hub, path, body))
        return self.answer({"error": f"unknown {path}"}, 404)

    def answer(self, content, status=200):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def create(hub, path, body):
    hub.created.append(json.loads(body))
    name = "/".join(filter(None, (hub.created[-1].get("organization"), hub.created[-1]["name"])))
    return {"url": f"{hub.url}/{name}", "name": name, "id": name}, 200


def sort_files(hub, path, body):
    files = json.loads(body)["files"]
    modes = [
        {
            "path": each["path"],
            "uploadMode": "lfs" if each["path"].endswith(_LARGE) else "regular",
            "shouldIgnore": False,
            "oid": None,
        }
        for each in files
    ]
    return {"files": modes}, 200


def offer_places(hub, path, body):
    objects = [
        {**each, "actions": {"upload": {"href": f"{hub.url}/objects/{each['oid']}"}}}
        for each in json.loads(body)["objects"]
    ]
    return {"transfer": "basic", "objects": objects}, 200


def keep_object(hub, path, body):
    digest = path.rpartition("/")[2]
    if hashlib.sha256(body).hexdigest() != digest:
        return {"error": "wrong content"}, 400
    hub.objects[digest] = body
    return {}, 200


def commit(hub, path, body):
    for line in body.decode().splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "file":
            hub.files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            hub.files[value["path"]] = hub.objects[value["oid"]]
    url = f"{hub.url}/{path.split('/api/models/')[1].partition('/commit/')[0]}/commit/c0ffee"
    return {
        "success": True,
        "commitOid": "c0ffee" + "0" * 34,
        "commitUrl": url,
        "hookOutput": "",
    }, 200


def accept_card(hub, path, body):
    hub.cards.append(json.loads(body)["content"])
    return {"errors": [], "warnings": []}, 200


_REPLIES = {
    r"^/api/validate-yaml$": accept_card,
    r"^/api/repos/create$": create,
    r"/preupload/main$": sort_files,
    r"/info/lfs/objects/batch$": offer_places,
    r"^/objects/": keep_object,
    r"/commit/main$": commit,
}
