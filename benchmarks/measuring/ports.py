"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 60


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port on which only a program that names it can listen, during the context.

    It stays bound, so that the system assigns it to no other socket. Servers set SO_REUSEADDR and may bind it too.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Wait until a server listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit("A server did not start.")
