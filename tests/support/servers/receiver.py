"""A client's server for webhooks over real TLS, and a network in which it has public addresses."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import trustme
from standardwebhooks import Webhook

from agent.network import Network

PUBLIC = "93.184.215.14"
LIMIT_SECONDS = 180

Answer = tuple[int, dict[str, str]] | tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Received:
    """A received message."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return the payload after the library has verified the signature."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Responds with 204 or with the next of `answers`: a status, with headers, with a body, or an event to wait for first."""

    def __init__(self, *, secure: bool = True) -> None:
        self.answers: deque[int | Answer | threading.Event] = deque()
        self.received: list[Received] = []
        self.reached: list[str] = []
        self.names: dict[str, Callable[[], Sequence[str]]] = {"hooks.example": lambda: [PUBLIC]}
        self._arrived = threading.Condition()
        self._authority = trustme.CA()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if secure:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._authority.issue_cert("hooks.example").configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            for answer in self.answers:
                if isinstance(answer, threading.Event):
                    answer.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(LIMIT_SECONDS)

    def wait(self, count: int) -> list[Received]:
        """Wait for `count` messages, and return all of them."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.received) >= count, LIMIT_SECONDS)
            assert arrived, f"{len(self.received)} of {count} messages arrived"
            return list(self.received)

    def network(self) -> Network:
        """Return a network in which public addresses lead to this server and others are unreachable."""
        tls = ssl.create_default_context()
        self._authority.configure_trust(tls)
        return Network(self._resolve, _Rerouted(self), tls)

    async def _resolve(self, host: str, _port: int) -> Sequence[str]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]()

    def _respond(self, message: Received) -> int | Answer:
        with self._arrived:
            self.received.append(message)
            answer = self.answers.popleft() if self.answers else 204
            self._arrived.notify_all()
        if isinstance(answer, threading.Event):
            answer.wait(LIMIT_SECONDS)
            return 204
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver._respond(Received(self.path, headers, body))
                status, more, content = (*answer, b"")[:3] if isinstance(answer, tuple) else (answer, {}, b"")
                try:
                    self.send_response(status)
                    for name, value in more.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the sender has closed the connection

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class _Rerouted(httpcore.AsyncNetworkBackend):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, _port: int, *rest: Any) -> httpcore.AsyncNetworkStream:
        self._receiver.reached.append(host)
        return await self._real.connect_tcp("127.0.0.1", self._receiver.port, *rest)
