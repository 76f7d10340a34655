"""Limits on open connections: in total, for each address, and for each account.

A connection is *anonymous* until a request on it has a valid key. Anonymous connections are limited by address. A limit never
refuses a new connection while an anonymous one can be closed instead: the one that has been without a complete request for
longest. So idle anonymous connections are lost, and a caller that sends its request immediately is served. Connections with a key are
closed only if no anonymous one is left, and only between two requests.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from agent.coordinator.metrics import CONNECTIONS_CLOSED
from agent.metrics import Meter
from agent.settings.coordinator import ConnectionSettings

MAX_DESCRIPTORS: Final = 65_536
"""Bound up to which the process's limit on descriptors is raised, because some programs iterate over all possible ones."""
FEWEST: Final = 16
"""Connections that are allowed even if the reserve leaves fewer."""
WARNING_SECONDS: Final = 60.0
"""Interval of log lines about closed connections, for each reason."""

log = structlog.get_logger()


def raise_descriptor_limit() -> int:
    """Raise the soft limit on file descriptors to the hard one, at most to `MAX_DESCRIPTORS`. Return the resulting limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        soft = highest
    return highest if soft == resource.RLIM_INFINITY else soft


def most_connections(settings: ConnectionSettings, descriptors: int) -> int:
    """Return how many connections the limit on descriptors allows, less the reserve.

    Each counts twice, because a request may have a file open in addition to its socket.
    """
    return min(settings.maximum, max(FEWEST, (descriptors - settings.reserved_descriptors) // 2))


class Connection:
    """One open connection. `owner` is the account, miner or key that it belongs to, or None while it is anonymous."""

    __slots__ = ("_all", "_close", "address", "grow", "miner", "owner", "proxied")

    def __init__(
        self, connections: Connections, address: str, close: Callable[[], None], *, proxied: bool
    ) -> None:
        self.address = address
        self.owner: str | None = None
        self.miner = False
        self.proxied = proxied
        self.grow: Callable[[int], None] = _no_messages
        """Allow WebSocket messages of up to this many bytes."""
        self._all = connections
        self._close = close

    def identify(self, owner: str, *, miner: bool = False) -> None:
        """Record that a request had a valid key of `owner`. No effect if the owner already has its maximum of connections."""
        if self.owner is None and not self.proxied:
            self._all.identify(self, owner, miner=miner)

    def close(self) -> None:
        """Close it immediately."""
        self._close()


def _no_messages(_: int) -> None:
    """Plain HTTP has no messages."""


def connection_of(scope: Mapping[str, Any]) -> Connection | None:
    """Return the connection of an ASGI scope, or None if another server runs the application."""
    connection: Connection | None = scope.get("connection")
    return connection


class Connections:
    """All open connections of a server, at most `limit`."""

    def __init__(self, settings: ConnectionSettings, meter: Meter, *, descriptors: int) -> None:
        self.limit = most_connections(settings, descriptors)
        self._per_address = min(settings.per_address, self.limit)
        # One account gets at most a quarter of the connections, and all accounts together three quarters.
        self._per_owner = min(settings.per_account, max(1, self.limit // 4))
        self._all_owners = self.limit * 3 // 4
        self._meter = meter
        self._open: set[Connection] = set()
        # The connections that may be closed, the least recently used first.
        self._anonymous: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._of_address: dict[str, dict[Connection, None]] = {}
        self._of_owner: Counter[str] = Counter()
        self._clients = 0
        self._warned: dict[str, float] = {}

    def counts(self) -> dict[str, int]:
        """Return the numbers of anonymous connections and of connections with a key."""
        return {"without_key": len(self._anonymous), "with_key": len(self._open) - len(self._anonymous)}

    def enter(self, connection: Connection, now: float) -> bool:
        """Admit a new connection, closing another one if there are too many. Return whether it is admitted."""
        if not connection.proxied:
            neighbours = self._of_address.setdefault(connection.address, {})
            if len(neighbours) >= self._per_address:
                self._end(next(iter(neighbours)), "address", now)
        if len(self._open) >= self.limit:
            least = next(iter(self._anonymous), None) or next(iter(self._idle), None)
            if least is None:
                self.closed("full", now, connection.address)
                return False
            self._end(least, "full", now)
        self._open.add(connection)
        if connection.proxied:
            self._idle[connection] = None
        else:
            self._anonymous[connection] = None
            self._of_address.setdefault(connection.address, {})[connection] = None
        return True

    def identify(self, connection: Connection, owner: str, *, miner: bool) -> None:
        """See `Connection.identify`."""
        # Clients cannot use up all connections, because miners must still be able to deliver results.
        share_is_used_up = not miner and self._clients >= self._all_owners
        if connection not in self._open or self._of_owner[owner] >= self._per_owner or share_is_used_up:
            return
        self._forget_anonymous(connection)
        connection.owner, connection.miner = owner, miner
        self._of_owner[owner] += 1
        self._clients += not miner

    def begin(self, connection: Connection) -> None:
        """Record that a request has arrived on the connection."""
        if connection.owner is not None or connection.proxied:
            self._idle.pop(connection, None)
        elif connection in self._anonymous:
            # To the end of both orders: the first ones are closed when there are too many.
            del self._anonymous[connection]
            self._anonymous[connection] = None
            neighbours = self._of_address[connection.address]
            del neighbours[connection]
            neighbours[connection] = None

    def end(self, connection: Connection) -> None:
        """Record that the request was answered."""
        if connection in self._open and (connection.owner is not None or connection.proxied):
            self._idle[connection] = None

    def leave(self, connection: Connection) -> None:
        """Record that the connection has ended. May be repeated."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if connection.owner is not None:
            self._of_owner[connection.owner] -= 1
            if not self._of_owner[connection.owner]:
                del self._of_owner[connection.owner]
            self._clients -= not connection.miner
        elif not connection.proxied:
            self._forget_anonymous(connection)

    def closed(self, reason: str, now: float, address: str) -> None:
        """Count a connection that was closed for a limit, and log it at most once every `WARNING_SECONDS`."""
        self._meter.count(CONNECTIONS_CLOSED, reason)
        # A flood of connections must not become a flood of lines.
        if now - self._warned.get(reason, -WARNING_SECONDS) >= WARNING_SECONDS:
            self._warned[reason] = now
            log.warning("connections_closed", reason=reason, address=address, open=len(self._open))

    def _end(self, connection: Connection, reason: str, now: float) -> None:
        self.closed(reason, now, connection.address)
        # Now and not when the socket has closed, which takes a turn of the event loop: its slot is needed at once.
        self.leave(connection)
        connection.close()

    def _forget_anonymous(self, connection: Connection) -> None:
        self._anonymous.pop(connection, None)
        neighbours = self._of_address.get(connection.address, {})
        neighbours.pop(connection, None)
        if not neighbours:
            self._of_address.pop(connection.address, None)
