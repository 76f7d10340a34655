"""Streams resume where they ended: after drops and restarts, for slow readers, and beyond the retained history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.retention import retention
from agent.coordinator.feed.feed import SLOT_BITS
from agent.coordinator.operations.context import Context
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent
from support.clients.dropping import TOLERANT, check_drops, history
from support.clients.scripted_miner import ScriptedMiner
from support.clients.stream_socket import StreamSocket
from support.jobs import followed, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


def publish_changes(served: Served, count: int = 1, size: int = 0, account_id: str | None = None) -> None:
    """Store numbered changes."""

    async def write(context: Context) -> None:
        changes = [
            NewEvent("marketplace_update", {"number": number, "filling": "x" * size}, account_id)
            for number in range(count)
        ]
        await context.database.write(events.add, changes, context.clock())

    served.do(write)


def publish_tokens(served: Served, job_id: str, *numbers: int, account_id: str | None = None) -> None:
    """Publish numbered tokens."""

    async def publish(context: Context) -> None:
        data = [{"job_id": job_id, "kind": "token", "number": number} for number in numbers]
        await context.feed.publish([NewEvent("job_event", item, account_id, job_id=job_id) for item in data])

    served.do(publish)


def number(value: int) -> Any:
    return lambda message: message["data"].get("number") == value


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["data"]["number"] for message in messages if "number" in message["data"]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A coordinator that tolerates many failures and released jobs."""
    with serve(tmp_path / "data", open_enrolment=True, **TOLERANT) as served:
        yield served


def test_a_client_that_drops_20_times_during_200_jobs_receives_every_change_once_and_in_order(
    served: Served, miner: ScriptedMiner
) -> None:
    """It drops at moments that a seed decides, mostly amid live messages, and receives exactly the changes in the database."""
    check_drops(served, miner, jobs=200, drops=20)


def test_a_slow_client_gets_a_resync_and_then_every_change(tmp_path: Path) -> None:
    """It uses no more memory than its queue, delays no other client, and continues on the same connection."""
    count = 600
    with serve(tmp_path / "data", streams={"queue": 16}) as served:
        with (
            StreamSocket(served.url, served.client_key, buffer=2**16) as slow,
            StreamSocket(served.url, served.client_key) as quick,
        ):
            slow.subscribe()
            for _ in range(count // 100):
                publish_changes(served, 100, size=20_000)
                assert numbers(quick.until(number(99)))[-1] == 99
            (waiting,) = {
                len(subscription._queue)
                for subscription in served.context.feed.hub._topics["everybody"]
                if subscription.lagged
            }
            assert waiting <= 16
            received = [slow.next() for _ in range(count)]
            while len([message for message in received if message["type"] != "resync"]) < count:
                received.append(slow.next())
        assert {"reason": "slow"} in [message["data"] for message in received if message["type"] == "resync"]
        assert numbers(received) == [*range(100)] * (count // 100)


@pytest.mark.parametrize("missed_changes", [True, False])
def test_a_stream_resumes_after_a_restart_of_the_coordinator(tmp_path: Path, missed_changes: bool) -> None:
    """With or without missed changes; tokens of the new process have higher numbers than those of the old one."""
    types = "job_update,job_event"
    with serve(tmp_path / "data", open_enrolment=True) as served:
        key = served.client_key
        account = history(served, key)[-1].account_id
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        with StreamSocket(served.url, key, types=types) as stream:
            first = submit(client)
            publish_tokens(served, first, 1, 2, 3, account_id=account)
            assert numbers(stream.until(number(2))) == [1, 2]
            last = stream.last
        missed = [submit(client)] if missed_changes else []
    with (
        serve(tmp_path / "data", open_enrolment=True) as served,
        StreamSocket(served.url, key, types=types, after=last) as stream,
    ):
        stream.last = last
        publish_tokens(served, first, 4, account_id=account)
        received = stream.until(number(4))
        assert [message["data"].get("reason") for message in received if message["type"] == "resync"] == [
            "events"
        ]
        assert [
            message["data"]["job_id"] for message in received if message["type"] == "job_update"
        ] == missed
        assert numbers(received) == [4]


def test_tokens_of_a_short_absence_arrive_once(client: httpx.Client, served: Served) -> None:
    account = history(served, served.client_key)[-1].account_id
    query = {"types": "job_event,job_update"}
    with StreamSocket(served.url, served.client_key, **query) as stream:
        job_id = submit(client)
        publish_tokens(served, job_id, 1, 2, account_id=account)
        stream.until(number(1))
        last = stream.last
        stream.abort()
    publish_tokens(served, job_id, 3, account_id=account)
    client.delete(f"/v1/jobs/{job_id}")
    publish_tokens(served, job_id, 4, account_id=account)
    with StreamSocket(served.url, served.client_key, **query, after=last) as stream:
        publish_tokens(served, job_id, 5, account_id=account)
        received = stream.until(number(5))
    assert [message["data"].get("number", message["data"].get("status")) for message in received] == [
        2, 3, "cancelled", 4, 5,
    ]  # fmt: skip


def test_tokens_beyond_the_history_are_a_gap(tmp_path: Path) -> None:
    """The gap is reported once, and only to subscribers of tokens."""
    with serve(tmp_path / "data", streams={"history": 3}) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        account = history(served, served.client_key)[-1].account_id
        job_id = submit(client)
        with StreamSocket(served.url, served.client_key) as stream:
            begun = stream.subscribe()["data"]["after"]
        publish_tokens(served, job_id, *range(10), account_id=account)
        submit(client)
        with StreamSocket(served.url, served.client_key, after=begun) as stream:
            assert stream.next()["type"] == "job_update"
        with StreamSocket(served.url, served.client_key, after=begun, types="job_event") as stream:
            gap = stream.next()
            assert (gap["type"], gap["data"], gap["seq"]) == ("resync", {"reason": "events"}, begun)
            assert numbers([stream.next() for _ in range(3)]) == [7, 8, 9]
        with followed(client, job_id) as events_of_job:  # a new follower has no gap before its beginning
            assert [next(events_of_job)[1].get("number") for _ in range(4)] == [None, 7, 8, 9]


def test_pruned_changes_are_a_gap(served: Served) -> None:
    """The stream resumes at the oldest stored change."""
    publish_changes(served, 5)

    async def prune(context: Context) -> None:
        await context.database.write(events.prune, context.clock() + 1)

    served.do(prune)
    publish_changes(served, 3)
    with StreamSocket(served.url, served.client_key, after=0) as stream:
        gap = stream.next()
        assert (gap["type"], gap["data"]) == ("resync", {"reason": "pruned"})
        assert numbers([stream.next() for _ in range(3)]) == [0, 1, 2]
    with StreamSocket(served.url, served.client_key, after=gap["seq"]) as stream:
        assert numbers([stream.next() for _ in range(3)]) == [0, 1, 2]


def test_old_changes_are_pruned(tmp_path: Path) -> None:
    with serve(tmp_path / "data", event_retention_seconds=0.1) as served:
        publish_changes(served, 5)

        async def prune(context: Context) -> int:
            while await context.database.read(events.oldest):
                await retention.delete_events(context)
                await asyncio.sleep(0.02)
            return await context.database.read(events.newest)

        assert served.do(prune) == 0
        with StreamSocket(served.url, served.client_key, after=1) as stream:
            assert stream.next()["data"] == {"reason": "pruned"}
            publish_changes(served, 1)
            assert numbers([stream.next()]) == [0]


def test_a_number_of_another_database_is_a_gap(served: Served) -> None:
    """For example after the restore of a backup. The stream continues from now on."""
    with StreamSocket(served.url, served.client_key, after=2**50) as stream:
        gap = stream.next()
        assert (gap["type"], gap["data"]) == ("resync", {"reason": "unknown"})
        publish_changes(served)
        assert numbers([stream.next()]) == [0]


def test_numbers_rise_even_if_one_change_has_more_messages_than_numbers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance reserves more numbers in time."""
    shared = served.context.database.concurrent  # where some bits are the replica's
    monkeypatch.setattr("agent.coordinator.feed.feed.NUMBER_BITS", 8 + (SLOT_BITS if shared else 0))
    with StreamSocket(served.url, served.client_key, types="job_event") as stream:
        for start in range(0, 1000, 100):
            publish_tokens(served, "job_1", *range(start, start + 100))
            served.do(lambda context: context.feed.keep_numbers(context.clock()))
        assert numbers(stream.until(number(999))) == [*range(1000)]


def test_the_events_of_one_job_resume_after_their_last_id(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """By parameter or header, without the state at the beginning; after the end, no more events."""
    job_id = submit(client)
    (lease,) = miner.poll()
    tokens = [{"kind": "token", "data": {"number": number}} for number in range(4)]
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
        details = {"inputs", "parameters"}  # are not in events
        expected = {key: shown[key] for key in shown.keys() - details}
        assert {**end[1], "timestamp": None} == {**expected, "timestamp": None}
    assert sse(client, job_id, params={"after": end[2]}) == []


def test_each_state_of_a_followed_job_has_the_same_form(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """The one at the beginning, and those that follow a change: a client that arrives late reads the same."""
    job_id = submit(client, labels={"project": "podcast"})
    (lease,) = miner.poll()
    (early,) = sse(client, job_id, 1)
    miner.job(lease, "events", events=[{"kind": "progress", "data": {"progress": 30}}])
    (late,) = sse(client, job_id, 1)
    resumed = sse(client, job_id, 1, params={"after": early[2]})[0]
    assert early[1].keys() == late[1].keys() == resumed[1].keys()
    assert resumed[1]["progress"] == 30
    assert {"account_id", "labels", "timestamp"} <= early[1].keys()
    miner.complete(lease, RESULTS)
    (end,) = sse(client, job_id)
    ended = sse(client, job_id, params={"after": resumed[2]})[-1]
    assert {**end[1], "timestamp": None} == {**ended[1], "timestamp": None}


@pytest.mark.parametrize("wrong", ["x", "-1", "٣", str(2**53)])
def test_an_invalid_id_is_refused(client: httpx.Client, wrong: str) -> None:
    job_id = submit(client)
    for how in ({"params": {"after": wrong}}, {"headers": {"Last-Event-ID": wrong.encode()}}):
        answer = client.get(f"/v1/jobs/{job_id}/events", **how)
        if wrong == "٣" and "params" in how:
            continue  # the framework accepts it as a number
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_a_late_follower_gets_the_events_of_the_current_run_only(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    for words in (["a", "b"], ["c", "d"]):
        (lease,) = miner.poll()
        events_of_run = [{"kind": "token", "data": {"text": word}} for word in words]
        miner.job(lease, "events", events=events_of_run)
        if words[0] == "a":
            miner.job(lease, "release", reason="shutdown")
    with followed(client, job_id) as received:
        assert [next(received)[1].get("text") for _ in range(3)] == [None, "c", "d"]
        miner.complete(lease, RESULTS)
        assert [data["status"] for _, data in received] == ["completed"]


def sse(client: httpx.Client, job_id: str, most: int = 10**6, **how: Any) -> list[tuple[str, Any, int]]:
    """The events of a job with their ids."""
    found: list[tuple[str, Any, int]] = []
    fields: dict[str, str] = {}
    with client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=120, **how) as stream:
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
