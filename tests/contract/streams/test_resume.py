"""Streams go on where they ended: after drops, restarts, for slow readers, and where history does not reach back."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from websockets.asyncio.client import connect

from agent.coordinator.feed.feed import NUMBER_BITS
from agent.coordinator.operations import streams
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import events as run_events
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent, StoredEvent
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.clients.stream_socket import StreamSocket
from support.jobs import WHISPER, followed, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
SEED = 20261125
JOBS = 2000
DROPS = 200
SLOTS = 16
SUBMITTERS = 8
LIMIT_SECONDS = 120


def say(served: Served, count: int = 1, size: int = 0, account_id: str | None = None) -> None:
    """Changes that happen for no reason, numbered."""

    async def write(context: Context) -> None:
        changes = [
            NewEvent("marketplace_update", {"number": number, "filling": "x" * size}, account_id)
            for number in range(count)
        ]
        await context.database.write(events.add, changes, context.clock())

    served.do(write)


def mumble(served: Served, job_id: str, *numbers: int, account_id: str | None = None) -> None:
    """Tokens that nobody has written."""

    async def tell(context: Context) -> None:
        data = [{"job_id": job_id, "kind": "token", "number": number} for number in numbers]
        await context.feed.publish([NewEvent("job_event", item, account_id, job_id=job_id) for item in data])

    served.do(tell)


def number(value: int) -> Any:
    return lambda message: message["data"].get("number") == value


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["data"]["number"] for message in messages if "number" in message["data"]]


def history(served: Served, key: str) -> list[StoredEvent]:
    """All changes that a client may see, as they stand in the database."""

    async def read(context: Context) -> list[StoredEvent]:
        caller = await access.authenticate(context, key)
        return await context.database.read(events.after, 0, account_id=caller.account_id, limit=10**6)

    return served.do(read)


class Listener:
    """A client that loses its connection again and again and goes on after the last message that it has seen."""

    def __init__(self, served: Served) -> None:
        self.heard: list[dict[str, Any]] = []
        self.drops = 0
        self._url = f"{served.url.replace('http', 'ws', 1)}/ws"
        self._headers = {"Authorization": f"Bearer {served.client_key}"}
        self._random = random.Random(SEED)  # noqa: S311 - chance that can be repeated
        self._last = 0

    async def listen(self) -> None:
        """Until the marker."""
        while not self.heard or self.heard[-1]["data"].get("marker") != "end":
            address = f"{self._url}?after={self._last}"
            async with connect(address, additional_headers=self._headers, max_size=None) as connection:
                await self._hear(connection)

    async def _hear(self, connection: Any) -> None:
        patience = self._random.randrange(80) if self.drops < DROPS else 10**9
        while patience:
            message = json.loads(await connection.recv())
            if message["type"] == "heartbeat":
                continue
            self._last = message["seq"]
            if message["type"] == "resync":  # a busy machine: nothing is lost by that
                assert message["data"] == {"reason": "slow"}
                continue
            self.heard.append(message)
            if message["data"].get("marker") == "end":
                return
            patience -= 1
        self.drops += 1
        connection.transport.abort()


def work(miner: ScriptedMiner, jobs: int) -> None:
    """Do jobs; now and then one fails, and a few are handed back: after many the miner would wait for long to get them again."""
    releases = 0
    chance = random.Random(SEED)  # noqa: S311 - chance that can be repeated
    ended, calls = 0, []
    with Socket(miner) as socket:
        socket.slots(SLOTS)
        while ended < jobs:
            lease = socket.lease()
            what = chance.random()
            if what < 0.05:
                body = {"fence": lease["fence"], "kind": "fail", "code": "INPUT_INVALID", "message": "No."}
                calls.append(socket.send("fail", lease["job_id"], body))
            elif what < 0.1 and releases < 4:
                releases += 1
                body = {"fence": lease["fence"], "reason": "shutdown"}
                calls.append(socket.send("release", lease["job_id"], body))
                ended -= 1
            else:
                calls.append(socket.send("result", lease["job_id"], miner.result_body(lease, RESULTS)))
            ended += 1
            socket.slots(SLOTS)
        assert {socket.answer(call)[0] for call in calls} == {200}


async def submit_all(served: Served) -> None:
    """Jobs of the client, and every now and then one of somebody else."""
    waiting = iter(range(JOBS))
    async with aiohttp.ClientSession(served.url) as session:

        async def submit_some() -> None:
            for place in waiting:
                keys = [served.client_key, *([served.other_key] if place % 40 == 0 else [])]
                for key in keys:
                    headers = {"Authorization": f"Bearer {key}"}
                    call = session.post("/v1/services/whisper/transcribe", json=WHISPER, headers=headers)
                    async with call as answer:
                        assert answer.status == 201, await answer.text()

        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(submit_some())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A coordinator that takes no offence at failures and released jobs, of which there are many here."""
    tolerated = {"releases_tolerated": 10_000, "client_failures_tolerated": 10_000}
    with serve(tmp_path / "data", open_enrolment=True, **tolerated) as served:
        yield served


@pytest.mark.timeout(LIMIT_SECONDS + 30)
def test_a_client_that_drops_200_times_during_2000_jobs_sees_every_change_once_and_in_order(
    served: Served, miner: ScriptedMiner
) -> None:
    """At moments that a seed decides, mostly amid live messages, and exactly what the database holds, no more, no less."""
    listener = Listener(served)
    worker = threading.Thread(target=work, args=(miner, JOBS + JOBS // 40), name="miner", daemon=True)
    worker.start()

    async def follow() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(listener.listen())
            await submit_all(served)
            await asyncio.to_thread(worker.join, LIMIT_SECONDS)
            end = NewEvent("marketplace_update", {"marker": "end"})
            await asyncio.to_thread(
                served.do, lambda context: context.database.write(events.add, [end], context.clock())
            )

    asyncio.run(follow())
    assert listener.drops == DROPS
    kept = history(served, served.client_key)
    assert [(message["seq"], message["type"], message["data"]) for message in listener.heard] == [
        (change.seq << NUMBER_BITS, change.type, change.data) for change in kept
    ]
    states = defaultdict(list)
    for message in listener.heard:
        if message["type"] == "job_update":
            states[message["data"]["job_id"]].append(message["data"]["status"])
    assert len(states) == JOBS
    assert {(told[0], told[1]) for told in states.values()} == {("submitted", "running")}
    ends = Counter(told[-1] for told in states.values())
    assert set(ends) == {"completed", "failed"}
    assert Counter(message["type"] for message in listener.heard)["receipt_created"] == ends["completed"]


def test_a_slow_client_hears_where_it_was_too_slow_and_then_every_change(tmp_path: Path) -> None:
    """It takes no more memory than its queue, holds up nobody, and goes on in the same connection."""
    count = 600
    with serve(tmp_path / "data", streams={"queue": 16}) as served:
        with (
            StreamSocket(served.url, served.client_key, buffer=2**16) as slow,
            StreamSocket(served.url, served.client_key) as quick,
        ):
            slow.subscribe()
            for _ in range(count // 100):
                say(served, 100, size=20_000)
                assert numbers(quick.until(number(99)))[-1] == 99
            (waiting,) = {
                len(subscription._waiting)
                for subscription in served.context.hub._topics["everybody"]
                if subscription.lagged
            }
            assert waiting <= 16
            told = [slow.next() for _ in range(count)]
            while len([message for message in told if message["type"] != "resync"]) < count:
                told.append(slow.next())
        assert {"reason": "slow"} in [message["data"] for message in told if message["type"] == "resync"]
        assert numbers(told) == [*range(100)] * (count // 100)


@pytest.mark.parametrize("anything", [True, False])
def test_a_stream_resumes_over_a_restart_of_the_coordinator(tmp_path: Path, anything: bool) -> None:
    """What happened between, if anything, and tokens of the new process under higher numbers than those of the old one."""
    types = "job_update,job_event"
    with serve(tmp_path / "data", open_enrolment=True) as served:
        key = served.client_key
        account = history(served, key)[-1].account_id
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        with StreamSocket(served.url, key, types=types) as stream:
            first = submit(client)
            mumble(served, first, 1, 2, 3, account_id=account)
            assert numbers(stream.until(number(2))) == [1, 2]
            last = stream.last
        missed = [submit(client)] if anything else []
    with (
        serve(tmp_path / "data", open_enrolment=True) as served,
        StreamSocket(served.url, key, types=types, after=last) as stream,
    ):
        stream.last = last
        mumble(served, first, 4, account_id=account)
        told = stream.until(number(4))
        assert [message["data"].get("reason") for message in told if message["type"] == "resync"] == [
            "events"
        ]
        assert [message["data"]["job_id"] for message in told if message["type"] == "job_update"] == missed
        assert numbers(told) == [4]


def test_tokens_of_a_short_absence_are_told_once(client: httpx.Client, served: Served) -> None:
    account = history(served, served.client_key)[-1].account_id
    query = {"types": "job_event,job_update"}
    with StreamSocket(served.url, served.client_key, **query) as stream:
        job_id = submit(client)
        mumble(served, job_id, 1, 2, account_id=account)
        stream.until(number(1))
        last = stream.last
        stream.abort()
    mumble(served, job_id, 3, account_id=account)
    client.delete(f"/v1/jobs/{job_id}")
    mumble(served, job_id, 4, account_id=account)
    with StreamSocket(served.url, served.client_key, **query, after=last) as stream:
        mumble(served, job_id, 5, account_id=account)
        told = stream.until(number(5))
    assert [message["data"].get("number", message["data"].get("status")) for message in told] == [
        2, 3, "cancelled", 4, 5,
    ]  # fmt: skip


def test_tokens_that_are_not_kept_any_more_are_a_gap(tmp_path: Path) -> None:
    """Which is said once, and only to those who wanted them."""
    with serve(tmp_path / "data", streams={"kept": 3}) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        account = history(served, served.client_key)[-1].account_id
        job_id = submit(client)
        with StreamSocket(served.url, served.client_key) as stream:
            begun = stream.subscribe()["data"]["after"]
        mumble(served, job_id, *range(10), account_id=account)
        submit(client)
        with StreamSocket(served.url, served.client_key, after=begun) as stream:
            assert stream.next()["type"] == "job_update"
        with StreamSocket(served.url, served.client_key, after=begun, types="job_event") as stream:
            gap = stream.next()
            assert (gap["type"], gap["data"], gap["seq"]) == ("resync", {"reason": "events"}, begun)
            assert numbers([stream.next() for _ in range(3)]) == [7, 8, 9]
        with followed(client, job_id) as events_of_job:  # who begins now was promised nothing of before
            assert [next(events_of_job)[1].get("number") for _ in range(4)] == [None, 7, 8, 9]


def test_history_that_is_not_kept_any_more_is_a_gap(served: Served) -> None:
    """The number to go on from is that of the oldest change that is kept."""
    say(served, 5)

    async def prune(context: Context) -> None:
        await context.database.write(events.prune, context.clock() + 1)

    served.do(prune)
    say(served, 3)
    with StreamSocket(served.url, served.client_key, after=0) as stream:
        gap = stream.next()
        assert (gap["type"], gap["data"]) == ("resync", {"reason": "pruned"})
        assert numbers([stream.next() for _ in range(3)]) == [0, 1, 2]
    with StreamSocket(served.url, served.client_key, after=gap["seq"]) as stream:
        assert numbers([stream.next() for _ in range(3)]) == [0, 1, 2]


def test_old_changes_are_forgotten_in_the_end(tmp_path: Path) -> None:
    with serve(tmp_path / "data", event_retention_seconds=0.1) as served:
        say(served, 5)

        async def forget(context: Context) -> int:
            while await context.database.read(events.oldest):
                await run_events.forget_old(context)
                await asyncio.sleep(0.02)
            return await context.database.read(events.newest)

        assert served.do(forget) == 0
        with StreamSocket(served.url, served.client_key, after=1) as stream:
            assert stream.next()["data"] == {"reason": "pruned"}
            say(served, 1)
            assert numbers([stream.next()]) == [0]


def test_a_number_of_another_database_is_a_gap(served: Served) -> None:
    """As after a backup was restored: the stream goes on from now."""
    with StreamSocket(served.url, served.client_key, after=2**50) as stream:
        gap = stream.next()
        assert (gap["type"], gap["data"]) == ("resync", {"reason": "unknown"})
        say(served)
        assert numbers([stream.next()]) == [0]


def test_more_is_told_between_two_changes_than_there_are_numbers_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upkeep takes a new number in time, so they rise all the same."""
    monkeypatch.setattr("agent.coordinator.feed.feed.NUMBER_BITS", 8)
    with StreamSocket(served.url, served.client_key, types="job_event") as stream:
        for start in range(0, 1000, 100):
            mumble(served, "job_1", *range(start, start + 100))
            served.do(streams.keep_numbers)
        assert numbers(stream.until(number(999))) == [*range(1000)]


def test_the_events_of_one_job_resume_after_their_last_id(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """By parameter or header, without the state at the beginning; nothing more once the end has been told."""
    job_id = submit(client)
    (lease,) = miner.poll()
    tokens = [{"kind": "token", "data": {"number": place}} for place in range(4)]
    miner.job(lease, "events", events=tokens[:2])
    first = sse(client, job_id, 3)
    assert [(name, data.get("status"), data.get("number")) for name, data, _ in first] == [
        ("job_update", "running", None),
        ("job_event", None, 0),
        ("job_event", None, 1),
    ]
    ids = [seq for _, _, seq in first]
    assert ids == sorted(set(ids))
    miner.job(lease, "events", events=[*tokens[2:], {"kind": "progress", "data": {"progress": 30}}])
    miner.complete(lease, RESULTS)
    for how in ({"params": {"after": ids[1]}}, {"headers": {"Last-Event-ID": str(ids[1])}}):
        rest = sse(client, job_id, **how)
        assert [data.get("number", data.get("progress")) for _, data, _ in rest] == [1, 30, 2, 3, 100]
        end = rest[-1]
        shown = client.get(f"/v1/jobs/{job_id}").json()
        assert {**end[1], "timestamp": None} == {**shown, "timestamp": None}
    assert sse(client, job_id, params={"after": end[2]}) == []


@pytest.mark.parametrize("wrong", ["x", "-1", "٣", str(2**53)])
def test_an_id_that_is_none_is_refused(client: httpx.Client, wrong: str) -> None:
    job_id = submit(client)
    for how in ({"params": {"after": wrong}}, {"headers": {"Last-Event-ID": wrong.encode()}}):
        answer = client.get(f"/v1/jobs/{job_id}/events", **how)
        if wrong == "٣" and "params" in how:
            continue  # a number to the framework
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_who_begins_late_hears_what_the_run_has_said_but_nothing_of_an_earlier_run(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    for words in (["a", "b"], ["c", "d"]):
        (lease,) = miner.poll()
        said = [{"kind": "token", "data": {"text": word}} for word in words]
        miner.job(lease, "events", events=said)
        if words[0] == "a":
            miner.job(lease, "release", reason="shutdown")
    with followed(client, job_id) as told:
        assert [next(told)[1].get("text") for _ in range(3)] == [None, "c", "d"]
        miner.complete(lease, RESULTS)
        assert [data["status"] for _, data in told] == ["completed"]


def sse(client: httpx.Client, job_id: str, most: int = 10**6, **how: Any) -> list[tuple[str, Any, int]]:
    """The events of a job with their ids."""
    found: list[tuple[str, Any, int]] = []
    fields: dict[str, str] = {}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=10, **how) as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                found.append((fields["event"], json.loads(fields["data"]), int(fields["id"])))
                fields = {}
                if len(found) == most:
                    break
    return found
