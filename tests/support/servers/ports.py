"""Ports for programs that cannot choose one themselves, or that must have the same one after a restart."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 on which only a program that names it can listen, during the context.

    The port stays bound, so that the system assigns it to no other socket, also while its program restarts. Such
    programs set SO_REUSEADDR, as servers do, with which they may bind it too, since nobody listens here.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]
