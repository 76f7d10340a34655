"""Replicas of a coordinator on a real server: who lives, who leads, and messages between them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest

from agent.coordinator.features.replicas.patience import LONGEST, MARGIN, SHORTEST
from agent.coordinator.features.replicas.replicas import POLL_SECONDS, STUCK_MARGIN, Replicas
from support.servers import postgres

pytestmark = [pytest.mark.system, pytest.mark.anyio]

LIMIT_SECONDS = 180


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url() -> str:
    return postgres.shared().new_database()


class Replica(Replicas):
    """A replica that records what it receives."""

    def __init__(self, url: str) -> None:
        async def connect() -> psycopg.AsyncConnection[Any]:
            return await psycopg.AsyncConnection.connect(url, autocommit=True)

        super().__init__(connect, "1")
        self.received: list[Any] = []
        self.news = asyncio.Event()
        self.bus.handle("number", lambda _, number: self._record(number), int)
        self.bus.on_signal("jobs", lambda: self._record("jobs"))
        self.bus.on_joined(lambda _: self._record("joined"))
        self.bus.on_left(lambda _: self._record("left"))
        self.bus.on_lost(lambda: self._record("lost"))

    def _record(self, item: Any) -> None:
        self.received.append(item)
        self.news.set()

    async def until(self, *items: Any) -> None:
        """Wait until these have been received, in this order, perhaps with others between them."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                received = iter(self.received)
                if all(item in received for item in items):
                    return
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run replicas; the first joins first, and leads."""
    tasks = []
    try:
        for replica in replicas:
            tasks.append(asyncio.create_task(replica.run(lambda: None)))
            async with asyncio.timeout(LIMIT_SECONDS):
                await replica.joined()
        for replica in replicas[: len(replicas) - 1 or None]:
            await replica.until(*["joined"] * (len(replicas) - 1))
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_messages_arrive_once_in_the_order_of_their_sender(url: str) -> None:
    first, second, third = (Replica(url) for _ in range(3))
    async with running(first, second, third):
        for number in range(500):
            first.bus.send("number", number, to=None if number % 2 else second.bus.replica_id)
            if number % 100 == 0:
                await first.bus.flushed()
        await first.bus.flushed()
        await asyncio.gather(second.bus.drain(), third.bus.drain())
        received = [
            [item for item in replica.received if isinstance(item, int)] for replica in (second, third)
        ]
        assert received == [list(range(500)), list(range(1, 500, 2))]
        assert not [item for item in first.received if isinstance(item, int)]


async def test_a_signal_wakes_the_others(url: str) -> None:
    first, second = Replica(url), Replica(url)
    async with running(first, second):
        second.bus.signal("jobs")
        await first.until("jobs")
        assert "jobs" not in second.received


async def test_one_leads_and_another_takes_over(url: str) -> None:
    first, second = Replica(url), Replica(url)
    async with running(first, second) as tasks:
        assert (first.leadership.leads, second.leadership.leads) == (True, False)
        assert {first.slot, second.slot} == {0, 1}
        tasks[0].cancel()
        async with asyncio.timeout(LIMIT_SECONDS):
            await second.leadership.until(leads=True)
        await second.until("left")


async def test_a_replica_whose_sessions_are_ended_stops_leading_and_joins_again(url: str) -> None:
    """Then it has a new id, and may have missed messages. One of both leads, whichever asks first."""
    first, second = Replica(url), Replica(url)
    async with running(first, second):
        before = first.bus.replica_id
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objid = 100"
            )
        async with asyncio.timeout(LIMIT_SECONDS):
            await first.leadership.until(leads=False)
            leads = [asyncio.create_task(replica.leadership.until(leads=True)) for replica in (first, second)]
            _, other = await asyncio.wait(leads, return_when=asyncio.FIRST_COMPLETED)
            for waiting in other:
                waiting.cancel()
        await first.until("left", "joined", "lost")
        await second.until("left", "joined")
        assert first.bus.replica_id != before
        first.bus.send("number", 7)
        await second.until("left", "joined", 7)


async def test_the_messages_of_a_server_that_crashed_may_be_lost_but_later_ones_arrive(url: str) -> None:
    """A crash empties unlogged tables. The server here only loses the rows."""
    first, second = Replica(url), Replica(url)
    async with running(first, second):
        first.bus.send("number", 1)
        await first.bus.flushed()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("TRUNCATE replica_messages")
        first.bus.send("number", 2)
        await second.until(2)


async def test_a_leader_whose_answers_are_late_waits_for_them_and_is_waited_for(url: str) -> None:
    """Its session is silent for longer than that of a replica that hangs, on a machine that is fast, may be."""
    first, second = Replica(url), Replica(url)
    async with (
        running(first, second),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):

        async def seen(query: str, *parameters: Any) -> Any:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not (row := await (await connection.execute(query.encode(), parameters)).fetchone()):  # noqa: ASYNC110 - the database has no events
                    await asyncio.sleep(0.05)
            return row[0]

        joined_as = first.bus.replica_id
        first.patience.note(LONGEST / MARGIN, asyncio.get_running_loop().time())
        await seen("SELECT 1 FROM replicas WHERE slot = 0 AND reply_seconds = %s", LONGEST)
        pid = await seen("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 100")
        # Its next look at the holders of locks follows all that it has changed at the server.
        await seen("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query LIKE %s", pid, "%FROM pg_locks%")
        os.kill(pid, signal.SIGSTOP)
        try:
            silent = POLL_SECONDS + SHORTEST + 2 * STUCK_MARGIN
            await seen(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND clock_timestamp() - state_change > %s * interval '1 s'",
                pid, silent,
            )  # fmt: skip
        finally:
            os.kill(pid, signal.SIGCONT)
        first.bus.send("number", 7)
        await second.until(7)
        assert "left" not in second.received
        assert (first.bus.replica_id, first.leadership.leads) == (joined_as, True)
        assert [member.leads for member in second.members] == [True, False]
