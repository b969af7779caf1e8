"""A hub on this computer: it lists repositories and serves their files as the real one does."""

import contextlib
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BLOCK_BYTES = 1 << 16


class Hub:
    """Repositories, what is wrong with them, and what was asked for.

    Attributes:
        repositories: Files by name, by repository.
        answers: (status, X-Error-Code) instead of any file of a repository.
        closed: The same, instead of a repository's list.
        announced: Sizes that are told instead of the true ones, by file.
        stall_after: Bytes after which a file's answer stands still, by file.
        spoiled: Files whose bytes differ from the checksum.
        served: Bytes of bodies, by file.
        seen: (method, path, Authorization) of every request.
        cdn: Address to which large files are redirected.
    """

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.answers: dict[str, tuple[int, str]] = {}
        self.closed: dict[str, tuple[int, str]] = {}
        self.announced: dict[str, int] = {}
        self.stall_after: dict[str, int] = {}
        self.spoiled: set[str] = set()
        self.served: Counter = Counter()
        self.seen: list[tuple[str, str, str]] = []
        self.cdn = ""
        self.url = ""
        self.going_on = threading.Event()

    def add_folder(self, repository: str, folder: Path) -> None:
        self.repositories[repository] = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def describe(self, repository: str) -> dict:
        siblings = []
        for name, content in self.repositories[repository].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            size = self.announced.get(name, len(content))
            sibling = {"rfilename": name, "size": size, "blobId": blob}
            if name.endswith((".safetensors", ".bin")):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
            siblings.append(sibling)
        return {"_id": "1", "id": repository, "sha": COMMIT, "tags": [], "siblings": siblings}


@contextlib.contextmanager
def serve_hub(hub: Hub):
    """Serves a hub until the block ends; `hub.url` is its address."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.going_on.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.hub.seen.append((self.command, path, self.headers.get("Authorization", "")))
        if match := _INFO.fullmatch(path):
            self.send_info(match[1], unquote(match[2] or "main"))
        elif match := _FILE.fullmatch(path):
            self.send_file(match[1], unquote(match[3]))
        else:
            self.refuse(404, "")

    def send_info(self, repository, revision):
        if repository in self.hub.closed:
            self.refuse(*self.hub.closed[repository])
        elif repository not in self.hub.repositories:
            self.refuse(401, "RepoNotFound")  # as the real one: a private one must not show
        elif revision not in {"main", "v2", COMMIT}:
            self.refuse(404, "RevisionNotFound")
        else:
            body = json.dumps(self.hub.describe(repository)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def send_file(self, repository, name):
        if repository in self.hub.answers:
            self.refuse(*self.hub.answers[repository])
            return
        content = self.hub.repositories.get(repository, {}).get(name)
        if content is None:
            self.refuse(404, "EntryNotFound")
        elif self.hub.cdn and name.endswith(".safetensors"):
            self.send_response(302)
            self.send_header("Location", f"{self.hub.cdn}/{repository}/resolve/{COMMIT}/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_bytes(name, content)

    def send_bytes(self, name, content):
        if name in self.hub.spoiled:
            content = b"\0" * len(content)
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        stall = self.hub.stall_after.get(name)
        for begin in range(start, len(content), _BLOCK_BYTES):
            if stall is not None and begin >= stall:
                self.hub.going_on.wait(60)
                return
            block = content[begin : begin + _BLOCK_BYTES]
            self.wfile.write(block)
            self.hub.served[name] += len(block)

    def refuse(self, status, code):
        echo = f"you sent {self.headers.get('Authorization', 'nothing')}"
        body = json.dumps({"error": echo}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        # A careless server may say the token back; nobody is to repeat it.
        self.send_header("X-Error-Message", echo)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
