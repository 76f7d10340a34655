"""An operator's own service for payments: it pays each idempotency key once, and remembers everything that it got."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


def make_secret() -> str:
    """Return a new secret in the format of the libraries for Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


class PaymentService:
    """Accepts a payment, and reports at the second request that it is confirmed, or that it failed if its miner is in `closed`."""

    def __init__(self, secret: str, closed: frozenset[str] = frozenset()) -> None:
        self.paid: dict[str, dict[str, Any]] = {}
        """The first request's data by idempotency key."""
        self.requests: Counter[str] = Counter()
        self.differing: set[str] = set()
        """Keys that came with different bodies."""
        self._bodies: dict[str, bytes] = {}
        self._closed = closed
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on loopback, at the URL that is returned."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/pay"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(60)

    def _answer(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        data = self._webhook.verify(body, headers)["data"]
        key = headers["idempotency-key"]
        with self._lock:
            self.requests[key] += 1
            if self._bodies.setdefault(key, body) != body:
                self.differing.add(key)
            if data["miner_id"] in self._closed:
                return {"status": "failed", "reason": "the account is closed"}
            self.paid.setdefault(key, data)
            return {
                "status": "accepted" if self.requests[key] == 1 else "confirmed",
                "reference": f"tr_{key}",
            }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = json.dumps(service._answer(headers, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
