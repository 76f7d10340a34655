"""The live replicas of a coordinator on PostgreSQL, which share nothing but the database.

Each replica has two connections outside the pool. `watch` holds a session lock for the replica's slot, and for its leadership, so the
server itself ends both as soon as the process or its connection ends. Every `POLL_SECONDS`, each replica reads who holds the locks.
A replica whose process does not run, although its connection is open, is disconnected by the others. On a slow machine or server, a replica waits longer
for answers, after it has let the others and the server know (`_adapt`): they never take over from a leader that still counts on its answer. `traffic` carries messages: rows of an unlogged table, inserted
in batches over one connection per sender, so that numbers become visible in order. `NOTIFY` without content announces them, and a poll
covers lost notifications.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NamedTuple

import psycopg
import structlog

from agent.coordinator.cluster import Leadership, Member, PortOwner, Relay
from agent.coordinator.features.replicas import messages
from agent.coordinator.features.replicas.bus import STORED_SECONDS, ReplicaBus, resolve
from agent.coordinator.features.replicas.messages import Session
from agent.coordinator.features.replicas.patience import LONGEST, SHORTEST, ReplyPatience
from agent.coordinator.features.replicas.relay import BusRelay
from agent.coordinator.store.concurrency import SESSION_LOCKS

POLL_SECONDS: Final = 0.5
STUCK_MARGIN: Final = 1.5
"""A replica that has not polled for this long beyond its own time limit is disconnected by the others."""
READ_SECONDS: Final = 1.0
"""Interval at which messages are read without a notification."""
PRUNE_SECONDS: Final = 5.0
"""Interval at which old messages are deleted."""
READS: Final = 100
"""Maximum number of reads in a row: a sender that never stops must not keep others waiting."""
REJOIN_SECONDS: Final = 0.2
BATCH_SECONDS: Final = 0.002
"""Minimum pause between two rounds of sending. Messages and signals that are queued meanwhile are sent together."""
SLOTS: Final = 32
"""Maximum number of live replicas."""
_LEADER: Final = 100
"""Second half of a key of `SESSION_LOCKS`, where others have a slot."""
_SETUP: Final = 101

_Connect = Callable[[], Awaitable[Session]]

log = structlog.get_logger()

_HOLDERS: Final = """
    SELECT l.objid::bigint, l.pid, extract(epoch FROM clock_timestamp() - a.state_change)::float,
        r.replica_id, r.reply_seconds, r.host, r.version, extract(epoch FROM r.started_at)::float
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN replicas r ON r.slot = l.objid::bigint
    WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class _Holder(NamedTuple):
    """Who holds a lock: a session that was last used `silent` seconds ago, and what its replica has stored about itself."""

    key: int
    pid: int
    silent: float | None
    replica_id: str | None
    reply_seconds: float | None
    host: str | None
    version: str | None
    started_at: float | None

    @property
    def stuck(self) -> bool:
        """Whether it is silent for longer than a replica may wait for an answer."""
        limit = self.reply_seconds or SHORTEST
        if not SHORTEST <= limit <= LONGEST:
            limit = SHORTEST
        return (self.silent or 0.0) > limit + STUCK_MARGIN


class _Left(Exception):
    """This replica must join again."""


class Replicas:
    """A replica on PostgreSQL. `connect` opens a session that is this replica's own: not one of a pooler's transactions."""

    def __init__(self, connect: _Connect, version: str) -> None:
        self.bus = ReplicaBus(self._drain)
        self.leadership = Leadership(leads=False)
        self.slot = 0
        self.obstacle: str | None = None
        self.members: Sequence[Member] = ()
        self._connect = connect
        self._version = version
        self._joined = asyncio.Event()
        self._positions: dict[str, int] = {}
        self._reading = asyncio.Lock()
        self._look = asyncio.Event()
        self._has_messages = asyncio.Event()
        self._traffic: Session | None = None
        self._read_at = 0.0
        self._poll_at = 0.0
        self.patience = ReplyPatience()
        self._reply_seconds = SHORTEST

    def relay(self, owner: PortOwner) -> Relay:
        """Share the ports of all replicas over the bus."""
        return BusRelay(self.bus, owner)

    async def joined(self) -> None:
        """Wait until this replica has joined."""
        await self._joined.wait()

    async def run(self, report: Callable[[], None]) -> None:
        """Take part until cancelled, joining again whenever the connection is lost. Calls `report` regularly."""
        is_retry = False
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._take_part(stack, report, is_retry=is_retry)
            except (psycopg.Error, OSError, TimeoutError, _Left) as error:
                self.obstacle = str(error).strip() or "the database did not answer in time"
                log.warning("replica_disconnected", reason=self.obstacle)
            finally:
                self._leave()
            is_retry = True
            report()
            await asyncio.sleep(REJOIN_SECONDS)

    async def _take_part(self, stack: AsyncExitStack, report: Callable[[], None], *, is_retry: bool) -> None:
        # Measured again: the database may have become slower or faster since the last attempt.
        self._reply_seconds = self.patience.limit(asyncio.get_running_loop().time())
        async with asyncio.timeout(10 * self._reply_seconds):
            watch = await self._opened(stack)
            traffic = await self._opened(stack)
            await self._join(watch)
        self.obstacle = None
        self._traffic = traffic
        # Messages of the time in between are lost, so everybody reads again what it needs.
        if is_retry:
            self.bus.lost()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("replica-watch", self._watch(watch, report)),
                ("replica-send", self._send_all(traffic)),
                ("replica-receive", self._receive_all()),
            )
        ]
        try:
            ended_tasks, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended_tasks:
                # Raises what has ended the task, so that the replica leaves and joins again.
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _opened(self, stack: AsyncExitStack) -> Session:
        session = await self._connect()
        stack.push_async_callback(_close, session)
        return session

    async def _join(self, watch: Session) -> None:
        for setting in ("tcp_keepalives_idle", "tcp_keepalives_interval"):
            # The server notices a dead connection within seconds, and only then are its locks free.
            await watch.execute(f"SET {setting} = 1")
        await messages.create_tables(watch, (SESSION_LOCKS, _SETUP))
        self.slot = await _free_slot(watch)
        self.bus.replica_id = secrets.token_hex(8)
        await messages.register(watch, self.slot, self.bus.replica_id, self._version, socket.gethostname())
        await self._announce(watch, self._reply_seconds)
        # What others sent before is not for this replica; they send it what it needs once they know of it.
        self._positions = await messages.positions(watch)
        self._read_at = asyncio.get_running_loop().time()
        await watch.execute("LISTEN aitbc_messages")
        await watch.execute("LISTEN aitbc_replicas")
        for name in self.bus.signal_names:
            await watch.execute(f"LISTEN aitbc_{name}")
        await self._poll(watch)
        await watch.execute("SELECT pg_notify('aitbc_replicas', '')")
        log.info("replica_joined", slot=self.slot, replica_id=self.bus.replica_id)
        self._joined.set()

    def _leave(self) -> None:
        self._traffic = None
        self.leadership.set(leads=False)
        self.bus.set_peers(frozenset())

    # Who is there.

    async def _watch(self, watch: Session, report: Callable[[], None]) -> None:
        while True:
            async with self._limited(POLL_SECONDS):
                async for notification in watch.notifies(timeout=POLL_SECONDS, stop_after=1):
                    self._notified(notification)
                if self._look.is_set() or asyncio.get_running_loop().time() >= self._poll_at:
                    self._look.clear()
                    await self._poll(watch)
                    report()
            await self._adapt(watch)

    @asynccontextmanager
    async def _limited(self, wait_seconds: float = 0.0) -> AsyncIterator[None]:
        """Limit how long the server's answers take, beyond a time that passes in any case, and note it."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(wait_seconds + self._reply_seconds):
                yield
        finally:
            self.patience.note(loop.time() - begun - wait_seconds, loop.time())

    async def _adapt(self, watch: Session) -> None:
        """Follow the measured delays: the others and the server wait longer before this replica does, and it waits less before they do."""
        limit = self.patience.limit(asyncio.get_running_loop().time())
        if limit == self._reply_seconds:
            return
        # Until the others know the longer limit, they still count on the shorter one.
        self._reply_seconds = min(limit, self._reply_seconds)
        async with self._limited():
            await self._announce(watch, limit)
        self._reply_seconds = limit
        log.info("replica_patience", seconds=limit)

    async def _announce(self, watch: Session, limit: float) -> None:
        await messages.announce(watch, self.slot, limit)
        # The server releases the locks of a lost connection after a second and this many more.
        await watch.execute(f"SET tcp_keepalives_count = {math.ceil(POLL_SECONDS + limit) - 1}")

    def _notified(self, notification: psycopg.Notify) -> None:
        traffic = self._traffic
        # Its own messages.
        if traffic is not None and notification.pid == traffic.info.backend_pid:
            return
        match notification.channel:
            case "aitbc_messages":
                self._has_messages.set()
            case "aitbc_replicas":
                self._look.set()
            case channel:
                self.bus.signalled(channel.removeprefix("aitbc_"))

    async def _poll(self, watch: Session) -> None:
        """Read who is alive, and try to lead if nobody does."""
        self._poll_at = asyncio.get_running_loop().time() + POLL_SECONDS
        rows = await (await watch.execute(_HOLDERS, (SESSION_LOCKS,))).fetchall()
        holders = [_Holder(*row) for row in rows]
        mine = watch.info.backend_pid
        self._check_own(
            next((holder for holder in holders if (holder.key, holder.pid) == (self.slot, mine)), None)
        )
        # The lock in the server decides, so there is one leader, even if replicas disagree.
        leader = next((holder.pid for holder in holders if holder.key == _LEADER), None)
        if leader is None and await _try_lock(watch, _LEADER):
            log.info("leadership_gained", slot=self.slot)
            self.leadership.set(leads=True)
            leader = mine
        replicas = [holder for holder in holders if 0 <= holder.key < SLOTS]
        # A session's time limit is in the row of its slot.
        patient = {holder.pid for holder in replicas if not holder.stuck} | {mine}
        for pid in {holder.pid for holder in holders if holder.stuck} - patient:
            log.warning("stuck_replica_disconnected", pid=pid)
            await watch.execute("SELECT pg_terminate_backend(%s)", (pid,))
        self.members = [_member(holder, leads=holder.pid == leader) for holder in replicas]
        self._set_peers(
            frozenset(holder.replica_id for holder in replicas if holder.replica_id) - {self.bus.replica_id}
        )

    def _check_own(self, holder: _Holder | None) -> None:
        """Raise `_Left` unless this replica holds its slot under its own name, by which the others read its messages."""
        if holder is None:
            raise _Left("its slot was lost")
        # Another program has written there. Messages under this name would reach nobody.
        if holder.replica_id != self.bus.replica_id:
            raise _Left("its row in the table of replicas was changed")

    def _set_peers(self, peers: frozenset[str]) -> None:
        for replica_id in peers - self._positions.keys():
            # A replica that has just joined begins to count at zero.
            self._positions[replica_id] = 0
        self.bus.set_peers(peers)
        for replica_id in self._positions.keys() - peers:
            del self._positions[replica_id]

    # Messages.

    async def _send_all(self, traffic: Session) -> None:
        number = 0
        expired = messages.Old(self.bus.replica_id)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self.bus.waking.wait()
            outgoing, signals, waiting = self.bus.take()
            try:
                async with self._limited():
                    if outgoing or signals:
                        rows = messages.rows(outgoing, number)
                        number += len(rows)
                        await messages.send(traffic, self.bus.replica_id, rows, signals)
                    await expired.prune(traffic, number, asyncio.get_running_loop().time())
            finally:
                resolve(waiting)
            await asyncio.sleep(BATCH_SECONDS)

    async def _receive_all(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_SECONDS):
                    await self._has_messages.wait()
            self._has_messages.clear()
            await self._drain()

    async def _drain(self) -> None:
        """Handle all messages that others had sent before this call."""
        if not self.bus.peers:
            return
        async with self._reading:
            for _ in range(READS):
                traffic = self._traffic
                if traffic is None:
                    return
                begun = asyncio.get_running_loop().time()
                async with self._limited():
                    received, more_stored = await messages.read(traffic, self.bus.replica_id, self._positions)
                # Messages may have been deleted before they were read.
                if begun - self._read_at > STORED_SECONDS:
                    self.bus.lost()
                self._read_at = begun
                for sender, number, payload in received:
                    # A replica that has left meanwhile is not listened to any more.
                    if sender in self._positions:
                        self._positions[sender] = number
                        self.bus.received_all(sender, messages.decode(payload))
                        # The event loop has other work than the messages of a large cluster.
                        await asyncio.sleep(0)
                if not more_stored:
                    return


def _member(holder: _Holder, *, leads: bool) -> Member:
    return Member(holder.key, holder.host or "", holder.version or "", holder.started_at or 0.0, leads)


async def _free_slot(watch: Session) -> int:
    for slot in range(SLOTS):
        if await _try_lock(watch, slot):
            return slot
    raise _Left(f"{SLOTS} replicas are running, which is the limit")


async def _try_lock(watch: Session, key: int) -> bool:
    row = await (await watch.execute("SELECT pg_try_advisory_lock(%s, %s)", (SESSION_LOCKS, key))).fetchone()
    return bool(row and row[0])


async def _close(session: Session) -> None:
    with suppress(psycopg.Error, OSError, TimeoutError):
        async with asyncio.timeout(1):
            await session.close()
