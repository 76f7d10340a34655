"""A failing network: a proxy between a client and a coordinator that breaks the first long connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 64 * 1024


class FailingProxy:
    """Forwards data until a connection has sent `after` bytes to the coordinator, then fails once.

    With `stalls` it keeps that connection open but forwards nothing more, like a network that has lost it; otherwise it closes
    the connection. `failed` is set in both cases.
    """

    def __init__(self, target: str, after: int, *, stalls: bool = False) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._after = after
        self._stalls = stalls
        self.failed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # the coordinator is down
                    client.close()
                    continue
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(PIECE):
                target.sendall(piece)
                passed += len(piece)
                if counted and passed >= self._after and not self.failed.is_set():
                    self.failed.set()
                    if self._stalls:
                        return
                    break
        _end(source, target)

    def close(self) -> None:
        """Close all connections and the proxy."""
        self._listener.close()
        _end(*self._open)


def _end(*connections: socket.socket) -> None:
    """Wake the threads that read from these sockets, and refuse further data: a peer may still be sending."""
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


@contextmanager
def failing(target: str, after: int, *, stalls: bool = False) -> Iterator[FailingProxy]:
    """Run a proxy in front of `target`, a coordinator's address."""
    proxy = FailingProxy(target, after, stalls=stalls)
    try:
        yield proxy
    finally:
        proxy.close()
