"""A client that repeatedly loses its connection while a miner works, and the check that it receives every change once."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter, defaultdict
from typing import Any

import aiohttp
from websockets.asyncio.client import connect

from agent.coordinator.feed.feed import NUMBER_BITS
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.context import Context
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent, StoredEvent
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER
from support.server import Served

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
SEED = 20261125
SLOTS = 16
SUBMITTERS = 8
LIMIT_SECONDS = 120


TOLERANT = {"releases_tolerated": 10_000, "client_failures_tolerated": 10_000}
"""Settings of a coordinator that tolerates many failures and released jobs."""


def check_drops(served: Served, miner: ScriptedMiner, *, jobs: int, drops: int) -> None:
    """Check that a client that drops so often receives exactly the changes in the database, in their order."""
    listener = Listener(served, drops)
    worker = threading.Thread(target=work, args=(miner, jobs + jobs // 40), name="miner", daemon=True)
    worker.start()

    async def follow() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(listener.listen())
            await submit_all(served, jobs)
            await asyncio.to_thread(worker.join, LIMIT_SECONDS)
            end = NewEvent("marketplace_update", {"marker": "end"})
            await asyncio.to_thread(
                served.do, lambda context: context.database.write(events.add, [end], context.clock())
            )

    asyncio.run(follow())
    assert listener.drops == drops
    stored = history(served, served.client_key)
    assert [(message["seq"], message["type"], message["data"]) for message in listener.received] == [
        (change.seq << NUMBER_BITS, change.type, change.data) for change in stored
    ]
    states = defaultdict(list)
    for message in listener.received:
        if message["type"] == "job_update":
            states[message["data"]["job_id"]].append(message["data"]["status"])
    assert len(states) == jobs
    assert {(changes[0], changes[1]) for changes in states.values()} == {("submitted", "running")}
    ends = Counter(changes[-1] for changes in states.values())
    assert set(ends) == {"completed", "failed"}
    assert Counter(message["type"] for message in listener.received)["receipt_created"] == ends["completed"]


def history(served: Served, key: str) -> list[StoredEvent]:
    """All changes in the database that a client may see."""

    async def read(context: Context) -> list[StoredEvent]:
        caller = await access.authenticate(context, key)
        return await context.database.read(events.after, 0, account_id=caller.account_id, limit=10**6)

    return served.do(read)


class Listener:
    """A client that repeatedly loses its connection and resumes after its last message."""

    def __init__(self, served: Served, drops: int) -> None:
        self.most = drops
        self.received: list[dict[str, Any]] = []
        self.drops = 0
        self._url = f"{served.url.replace('http', 'ws', 1)}/ws"
        self._headers = {"Authorization": f"Bearer {served.client_key}"}
        self._random = random.Random(SEED)  # noqa: S311 - chance that can be repeated
        self._last = 0

    async def listen(self) -> None:
        """Read until the marker."""
        while not self.received or self.received[-1]["data"].get("marker") != "end":
            address = f"{self._url}?after={self._last}"
            async with connect(address, additional_headers=self._headers, max_size=None) as connection:
                await self._receive(connection)

    async def _receive(self, connection: Any) -> None:
        patience = self._random.randrange(80) if self.drops < self.most else 10**9
        while patience:
            message = json.loads(await connection.recv())
            if message["type"] == "heartbeat":
                continue
            self._last = message["seq"]
            if message["type"] == "resync":  # a busy machine: nothing is lost by that
                assert message["data"] == {"reason": "slow"}
                continue
            self.received.append(message)
            if message["data"].get("marker") == "end":
                return
            patience -= 1
        self.drops += 1
        connection.transport.abort()


def work(miner: ScriptedMiner, jobs: int) -> None:
    """Run jobs. Some fail and a few are released; after many releases, the miner would wait long to get them again."""
    releases = 0
    chance = random.Random(SEED)  # noqa: S311 - chance that can be repeated
    ended, calls = 0, []
    with Socket(miner) as socket:
        socket.slots(SLOTS)
        while ended < jobs:
            lease = socket.lease()
            draw = chance.random()
            if draw < 0.05:
                body = {"fence": lease["fence"], "kind": "fail", "code": "INPUT_INVALID", "message": "No."}
                calls.append(socket.send("fail", lease["job_id"], body))
            elif draw < 0.1 and releases < 4:
                releases += 1
                body = {"fence": lease["fence"], "reason": "shutdown"}
                calls.append(socket.send("release", lease["job_id"], body))
                ended -= 1
            else:
                calls.append(socket.send("result", lease["job_id"], miner.result_body(lease, RESULTS)))
            ended += 1
            socket.slots(SLOTS)
        assert {socket.answer(call)[0] for call in calls} == {200}


async def submit_all(served: Served, jobs: int) -> None:
    """Submit the client's jobs, and now and then one of another account."""
    waiting = iter(range(jobs))
    async with aiohttp.ClientSession(served.url) as session:

        async def submit_some() -> None:
            for number in waiting:
                keys = [served.client_key, *([served.other_key] if number % 40 == 0 else [])]
                for key in keys:
                    headers = {"Authorization": f"Bearer {key}"}
                    call = session.post("/v1/services/whisper/transcribe", json=WHISPER, headers=headers)
                    async with call as answer:
                        assert answer.status == 201, await answer.text()

        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(submit_some())
