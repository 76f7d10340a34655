"""Messages between the replicas of a coordinator, in order per sender.

Nothing waits for a message: senders queue them, and `replicas` carries them through the database in batches. A message may be lost if the
database server crashes or a replica cannot reach it for `STORED_SECONDS`. Replicas are then called back (`on_lost`), and read what they
need again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from pydantic import TypeAdapter, ValidationError

from agent.coordinator.cluster import Bus, Handler

STORED_SECONDS: Final = 30.0
"""How long messages are stored. A replica that reads none for longer may have missed some."""
OUTBOX_LIMIT: Final = 100_000
"""Messages queued while the database is slow; beyond it, they are lost."""

log = structlog.get_logger()


class Outgoing(NamedTuple):
    """A message to one replica, or to all others (`to` is None). `data` is JSON."""

    to: str | None
    kind: str
    data: Any


class ReplicaBus(Bus):
    """A bus whose messages go through the database. `replica_id` is this replica's: a new one each time that it joins."""

    def __init__(self, drain: Callable[[], Awaitable[None]]) -> None:
        self.replica_id = ""
        self._drain = drain
        self.waking = asyncio.Event()
        self._handlers: dict[str, Handler] = {}
        self._shapes: dict[str, Any] = {}
        # Made when the first message of a kind arrives: a replica receives few kinds of them.
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._refused: set[str] = set()
        self._on_signal: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        self._on_joined: list[Callable[[str], None]] = []
        self._on_left: list[Callable[[str], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._outbox: list[Outgoing] = []
        self._signals: set[str] = set()
        self._unsent: list[asyncio.Future[None]] = []

    def handle(self, kind: str, handler: Handler, shape: Any) -> None:
        """Call `handler` with the sender's id and the data of each message of a kind, as pydantic reads it as the type `shape`.

        Other data are ignored: every program with the database can send messages, and a handler need not expect all.
        """
        self._handlers[kind] = handler
        self._shapes[kind] = shape

    def on_signal(self, name: str, call: Callable[[], None]) -> None:
        """Call `call` after a signal of another replica."""
        self._on_signal[name].append(call)

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The signals that this replica receives."""
        return tuple(self._on_signal)

    def on_joined(self, call: Callable[[str], None]) -> None:
        """Call `call` with the id of each replica that joins, also those that were there when this one joined."""
        self._on_joined.append(call)

    def on_left(self, call: Callable[[str], None]) -> None:
        """Call `call` with the id of each replica that has ended."""
        self._on_left.append(call)

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call `call` when messages of other replicas may have been lost."""
        self._on_lost.append(call)

    def send(self, kind: str, data: Any, to: str | None = None) -> None:
        """Queue a message to one replica, or to all others. It is dropped if that replica has ended."""
        # Nobody would read the message.
        if not self.peers or (to is not None and to not in self.peers):
            return
        # The database has not answered for long, and memory has an end.
        if len(self._outbox) >= OUTBOX_LIMIT:
            log.error("replica_messages_dropped", messages=len(self._outbox))
            self._outbox.clear()
        self._outbox.append(Outgoing(to, kind, data))
        self.waking.set()

    def signal(self, name: str) -> None:
        """Wake all other replicas soon. Several signals of a name may arrive as one, or none; receivers also poll."""
        if self.peers:
            self._signals.add(name)
            self.waking.set()

    async def flushed(self) -> None:
        """Wait until all messages queued so far are visible to their receivers, or this replica has no peers."""
        if self._outbox:
            flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._unsent.append(flushed)
            await flushed

    async def drain(self) -> None:
        """Handle all messages that others had sent, and `flushed`, before the call."""
        await self._drain()

    # The following is called by `replicas`.

    def take(self) -> tuple[list[Outgoing], set[str], list[asyncio.Future[None]]]:
        """Return and forget the queued messages and signals, and who waits for them."""
        self.waking.clear()
        queued = self._outbox, self._signals, self._unsent
        self._outbox, self._signals, self._unsent = [], set(), []
        return queued

    def received_all(self, sender: str, batch: Sequence[Any]) -> None:
        """Pass on messages of another replica, each a list of kind and data."""
        for message in batch:
            match message:
                case [str(kind), data]:
                    self.received(sender, kind, data)
                case _:
                    self._refuse(sender, "", "it has no kind")

    def received(self, sender: str, kind: str, data: Any) -> None:
        """Pass on a message of another replica, unless it is of a later version or malformed."""
        # A newer version may send kinds that this one does not know.
        handler = self._handlers.get(kind)
        if handler is None:
            return
        try:
            read = self._adapter(kind).validate_python(data)
        except ValidationError as error:
            self._refuse(sender, kind, str(error.errors(include_input=False, include_url=False)[:1]))
            return
        try:
            handler(sender, read)
        except Exception:  # one bad message must not stop the others
            log.exception("replica_message_failed", kind=kind, sender=sender)

    def _adapter(self, kind: str) -> TypeAdapter[Any]:
        adapter = self._adapters.get(kind)
        if adapter is None:
            adapter = self._adapters[kind] = TypeAdapter(self._shapes[kind])
        return adapter

    def _refuse(self, sender: str, kind: str, reason: str) -> None:
        """Report that messages of a sender are ignored, once: it may send many."""
        # One warning for each sender, since a faulty one would fill the log.
        if sender not in self._refused:
            self._refused.add(sender)
            log.warning("replica_message_refused", sender=sender, kind=kind, reason=reason)

    def signalled(self, name: str) -> None:
        """Pass on a signal of another replica."""
        for call in self._on_signal[name]:
            call()

    def lost(self) -> None:
        """Report that messages of other replicas may have been lost."""
        for call in self._on_lost:
            call()

    def set_peers(self, peers: frozenset[str]) -> None:
        """Replace the peers. Without any, queued messages are dropped."""
        earlier_peers, self.peers = self.peers, peers
        # A replica that comes back is warned about again.
        self._refused &= peers
        for replica_id in earlier_peers - peers:
            for call in self._on_left:
                call(replica_id)
        for replica_id in peers - earlier_peers:
            for call in self._on_joined:
                call(replica_id)
        # Those who wait for messages to be stored would wait forever.
        if not peers:
            _, _, waiting = self.take()
            resolve(waiting)


def resolve(waiting: list[asyncio.Future[None]]) -> None:
    """Wake the callers that wait for their messages to be sent."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
