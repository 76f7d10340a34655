"""The live replicas of a coordinator on PostgreSQL, which share nothing but the database.

Each replica has two connections outside the pool. `watch` holds a session lock for the replica's slot, and for its leadership, so the
server itself ends both as soon as the process or its connection ends. Every `POLL_SECONDS`, each replica reads who holds the locks.
A replica whose process does not run, although its connection is open, is disconnected by the others. `traffic` carries messages: rows of an unlogged table, inserted
in batches over one connection per sender, so that numbers become visible in order. `NOTIFY` without content announces them, and a poll
covers lost notifications.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

import psycopg
import structlog

from agent.coordinator.cluster import messages
from agent.coordinator.cluster.bus import STORED_SECONDS, Bus, resolve
from agent.coordinator.cluster.leadership import Leadership
from agent.coordinator.cluster.messages import Session

POLL_SECONDS: Final = 0.5
REPLY_SECONDS: Final = 1.5
"""Time for an answer of the server. Without one, the replica stops leading and joins again."""
STUCK_SECONDS: Final = 3.0
"""A replica that has not polled for this long is disconnected by the others."""
READ_SECONDS: Final = 1.0
"""Interval at which messages are read without a notification."""
PRUNE_SECONDS: Final = 5.0
"""Interval at which old messages are deleted."""
REJOIN_SECONDS: Final = 0.2
BATCH_SECONDS: Final = 0.002
"""Minimum pause between two rounds of sending. Messages and signals that are queued meanwhile are sent together."""
SLOTS: Final = 32
"""Maximum number of live replicas."""
_LOCKS: Final = 1095783233
"""First half of the keys of this coordinator's session locks. The second half is a slot, or one of the following."""
_LEADER: Final = 100
_SETUP: Final = 101

_Connect = Callable[[], Awaitable[Session]]

log = structlog.get_logger()

_HOLDERS: Final = """
    SELECT l.objid::int, l.pid, r.replica_id, extract(epoch FROM clock_timestamp() - a.state_change)::float
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN replicas r ON r.slot = l.objid::int
    WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class _Left(Exception):
    """This replica must join again."""


class Replicas:
    """A replica on PostgreSQL. `connect` opens a session that is this replica's own: not one of a pooler's transactions."""

    def __init__(self, connect: _Connect, version: str) -> None:
        self.bus = Bus()
        self.leadership = Leadership(leads=False)
        self.slot = 0
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
        self.bus.drain = self._drain

    async def joined(self) -> None:
        """Wait until this replica has joined."""
        await self._joined.wait()

    async def run(self, report: Callable[[], None]) -> None:
        """Take part until cancelled, joining again whenever the connection is lost. Calls `report` regularly."""
        again = False
        while True:
            try:
                async with AsyncExitStack() as stack:
                    await self._take_part(stack, report, again=again)
            except (psycopg.Error, OSError, TimeoutError, _Left) as error:
                log.warning("replica_disconnected", reason=str(error) or type(error).__name__)
            finally:
                self._leave()
            again = True
            report()
            await asyncio.sleep(REJOIN_SECONDS)

    async def _take_part(self, stack: AsyncExitStack, report: Callable[[], None], *, again: bool) -> None:
        async with asyncio.timeout(10 * REPLY_SECONDS):
            watch = await self._opened(stack)
            traffic = await self._opened(stack)
            await self._join(watch)
        self._traffic = traffic
        if again:
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
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
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
        for setting in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"):
            await watch.execute(
                f"SET {setting} = 1"
            )  # the server releases the locks of a lost connection after 2 s
        await messages.create_tables(watch, (_LOCKS, _SETUP))
        self.slot = await _free_slot(watch)
        self.bus.replica_id = secrets.token_hex(8)
        await messages.register(watch, self.slot, self.bus.replica_id, self._version)
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
            async with asyncio.timeout(POLL_SECONDS + REPLY_SECONDS):
                async for notification in watch.notifies(timeout=POLL_SECONDS, stop_after=1):
                    self._notified(notification)
                if self._look.is_set() or asyncio.get_running_loop().time() >= self._poll_at:
                    self._look.clear()
                    await self._poll(watch)
                    report()

    def _notified(self, notification: psycopg.Notify) -> None:
        traffic = self._traffic
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
        async with asyncio.timeout(REPLY_SECONDS):
            rows = await (await watch.execute(_HOLDERS, (_LOCKS,))).fetchall()
            mine = watch.info.backend_pid
            if not any(objid == self.slot and pid == mine for objid, pid, _, _ in rows):
                raise _Left("its slot was lost")
            if not any(objid == _LEADER for objid, *_ in rows) and await _try_lock(watch, _LEADER):
                log.info("leadership_gained", slot=self.slot)
                self.leadership.set(leads=True)
            for pid in {pid for _, pid, _, silent in rows if pid != mine and (silent or 0.0) > STUCK_SECONDS}:
                log.warning("stuck_replica_disconnected", pid=pid)
                await watch.execute("SELECT pg_terminate_backend(%s)", (pid,))
        peers = frozenset(
            replica_id for objid, pid, replica_id, _ in rows if objid < SLOTS and pid != mine and replica_id
        )
        for replica_id in peers - self._positions.keys():
            self._positions[replica_id] = 0
        self.bus.set_peers(peers)
        for replica_id in self._positions.keys() - peers:
            del self._positions[replica_id]

    # Messages.

    async def _send_all(self, traffic: Session) -> None:
        number = 0
        old = messages.Old(self.bus.replica_id)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self.bus.waking.wait()
            outgoing, signals, waiting = self.bus.take()
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    if outgoing or signals:
                        rows = messages.rows(outgoing, number)
                        number += len(rows)
                        await messages.send(traffic, self.bus.replica_id, rows, signals)
                    await old.prune(traffic, number, asyncio.get_running_loop().time())
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
            traffic = self._traffic
            if traffic is None:
                return
            loop = asyncio.get_running_loop()
            begun = loop.time()
            async with asyncio.timeout(REPLY_SECONDS):
                received = await messages.read(traffic, self.bus.replica_id, self._positions)
            if begun - self._read_at > STORED_SECONDS:
                self.bus.lost()
            self._read_at = begun
            for sender, number, payload in received:
                if sender in self._positions:
                    self._positions[sender] = number
                    for kind, data in messages.decode(payload):
                        self.bus.received(sender, kind, data)


async def _free_slot(watch: Session) -> int:
    for slot in range(SLOTS):
        if await _try_lock(watch, slot):
            return slot
    raise _Left(f"{SLOTS} replicas are running, which is the limit")


async def _try_lock(watch: Session, key: int) -> bool:
    row = await (await watch.execute("SELECT pg_try_advisory_lock(%s, %s)", (_LOCKS, key))).fetchone()
    return bool(row and row[0])


async def _close(session: Session) -> None:
    with suppress(psycopg.Error, OSError, TimeoutError):
        async with asyncio.timeout(1):
            await session.close()
