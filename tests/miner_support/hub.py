"""A simulated Hugging Face Hub and plain file server, over real HTTP on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + 34 * "0"
SMALL = 100_000
"""Files below this many bytes are in Git itself, the others in its large file storage."""


class Hub:
    """`repositories` are by name and file; `plain` files are at /plain/NAME. The rest are faults to inject and requests."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.plain: dict[str, bytes] = {}
        self.revisions = {COMMIT, "main"}
        self.gated = False
        self.licence: str | None = None
        self.unavailable = False
        self.token: str | None = None
        self.ranges = True
        self.sizes = True
        self.corrupt: set[str] = set()
        self.cut: dict[str, list[int]] = {}
        """By file: the numbers of bytes after which the next connections are cut."""
        self.hold: dict[str, int] = {}
        """By file: after how many bytes the server pauses, until `go_on`."""
        self.go_on = threading.Event()
        self.answers: list[int] = []
        """Statuses that the next requests for files get instead of an answer."""
        self.served: Counter[str] = Counter()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.changed = threading.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, repository: str, **files: bytes) -> None:
        """Add files by name; two underscores stand for a slash and one for a dot."""
        named = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
        self.repositories.setdefault(repository, {}).update(named)

    def count(self, name: str, size: int) -> None:
        with self.changed:
            self.served[name] += size
            self.changed.notify_all()

    def wait_served(self, name: str, size: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.served[name] >= size, 60), self.served

    def requests_of(self, name: str) -> list[dict[str, str]]:
        """Return the headers of each GET of a file."""
        return [headers for method, path, headers in self.requests if method == "GET" and path.endswith(name)]


def described(hub: Hub, repository: str) -> dict[str, Any]:
    siblings = []
    for name, content in hub.repositories[repository].items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        sibling = {"rfilename": name, "size": len(content), "blobId": blob}
        siblings.append(sibling if len(content) < SMALL else {**sibling, "lfs": large})
    card = {} if hub.licence is None else {"cardData": {"license": hub.licence}}
    found = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, "private": False}
    return {**found, "gated": "auto" if hub.gated else False, **card}


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        hub = self.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif parts[0] == "plain":
            self._send_file(parts[1], hub.plain.get(parts[1]), body=body)
        elif parts[0] == "content":
            repository, name = "/".join(parts[1:3]), "/".join(parts[3:])
            self._send_file(name, hub.repositories.get(repository, {}).get(name), body=body)
        else:
            self._resolve("/".join(parts[:2]), "/".join(parts[4:]), body=body)

    def _allowed(self) -> bool:
        hub = self.hub
        if hub.gated and (hub.token is None or self.headers.get("authorization") != f"Bearer {hub.token}"):
            self._status(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
            return False
        return True

    def _describe(self, repository: str, revision: str) -> None:
        if self.hub.unavailable:
            self._status(503)
        elif repository not in self.hub.repositories:
            self._status(404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in self.hub.revisions:
            self._status(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            self._status(
                200,
                {"Content-Type": "application/json"},
                json.dumps(described(self.hub, repository)).encode(),
            )

    def _resolve(self, repository: str, name: str, *, body: bool) -> None:
        if not self._allowed():
            return
        content = self.hub.repositories[repository].get(name)
        if (
            content is not None and len(content) >= SMALL
        ):  # as the Hub does, to a host that must not receive the token
            self._status(302, {"Location": f"http://localhost:{self.hub.port}/content/{repository}/{name}"})
        else:
            self._send_file(name, content, body=body)

    def _send_file(self, name: str, content: bytes | None, *, body: bool) -> None:
        hub = self.hub
        if body and hub.answers:
            self._status(hub.answers.pop(0))
            return
        if content is None:
            self._status(404)
            return
        if name in hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if not body:
            self.send_response(200 if hub.sizes else 405)
            self.send_header("Content-Length", str(len(content)) if hub.sizes else "0")
            self.end_headers()
            return
        start = 0
        if hub.ranges and (requested := self.headers.get("range", "")).startswith("bytes="):
            start = int(requested.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._status(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(name, content[start:])

    def _send(self, name: str, content: bytes) -> None:
        hub = self.hub
        cut = hub.cut[name].pop(0) if hub.cut.get(name) else len(content)
        hold = hub.hold.get(name)
        sent = 0
        try:
            while sent < min(cut, len(content)):
                if hold is not None and hub.served[name] >= hold and not hub.go_on.is_set():
                    self.wfile.flush()
                    hub.go_on.wait(60)
                step = content[sent : min(sent + 65536, cut)]
                self.wfile.write(step)
                sent += len(step)
                hub.count(name, len(step))
        except OSError:  # the client has closed the connection
            pass
        if sent < len(content):
            self.close_connection = True

    def _status(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Ignore errors of killed clients, which are part of the tests."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="hub", daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join(60)
