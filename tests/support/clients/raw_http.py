"""A connection on which the test writes raw bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from typing import Any, Self
from urllib.parse import urlsplit

LIMIT_SECONDS = 180


class RawConnection:
    """A TCP connection to a server. `source` is its source address, `buffer` the kernel's receive buffer."""

    def __init__(self, url: str, source: str | None = None, buffer: int | None = None) -> None:
        server = urlsplit(url)
        self.host = server.netloc
        self.socket = socket.socket()
        self.socket.settimeout(LIMIT_SECONDS)
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect((server.hostname, server.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: str | bytes) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def begin(self, method: str, path: str, **headers: str) -> None:
        """Send a head; underscores in the names of headers are hyphens."""
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [
            f"{name.replace('_', '-')}: {value}" for name, value in {"Host": self.host, **headers}.items()
        ]
        self.send("\r\n".join([*lines, "", ""]))

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return the status, the headers in lower case, and the JSON body of the next response."""
        with self.socket.makefile("rb", buffering=0) as file:
            status = int(_line(file).split()[1])
            headers: dict[str, str] = {}
            while line := _line(file):
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            size = int(headers.get("content-length", "0"))
            body = b""
            while len(body) < size and (part := file.read(size - len(body))):
                body += part
        return status, headers, json.loads(body) if body else None

    def send_until_cut(self, parts: Iterable[str | bytes]) -> int:
        """Send chunks until the other side closes the connection. Returns the number of bytes sent."""
        sent = 0
        try:
            for part in parts:
                self.send(part)
                sent += len(part)
        except (ConnectionResetError, BrokenPipeError):
            return sent
        raise AssertionError("the server accepted all data")

    def ended(self) -> bool:
        """Wait for the other side to close the connection. Raises `TimeoutError`."""
        try:
            while self.socket.recv(2**16):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        return True


def _line(file: Any) -> str:
    line = file.readline()
    assert line, "the connection ended without a response"
    return line.decode("latin-1").rstrip("\r\n")
