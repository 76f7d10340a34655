"""The WebSocket `/ws`: authentication, audiences and filters."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.streams.streams import OpenStreams
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.context import Context
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent
from aitbc.answers.accounts import Role
from support.clients.scripted_miner import ScriptedMiner
from support.clients.stream_socket import StreamSocket
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
EVERY_TYPE = "job_update,marketplace_update,receipt_created,job_progress,job_event"
PATHS = ["/ws", "/v1/ws", "/api/ws", "/api/v1/ws"]


def run(client: httpx.Client, miner: ScriptedMiner, **options: Any) -> str:
    """Run a job from its submission to its result."""
    job_id = submit(client, **options)
    (lease,) = miner.poll()
    assert miner.complete(lease, RESULTS).status_code == 200
    return job_id


def story(job_id: str, messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The messages about a job: types, and states if there are any."""
    return [
        (message["type"], message["data"].get("status", ""))
        for message in messages
        if message["data"].get("job_id") == job_id
    ]


WHOLE = [
    ("job_update", "submitted"),
    ("job_update", "running"),
    ("job_update", "completed"),
    ("marketplace_update", "settled"),
    ("receipt_created", ""),
]


def receipt(message: dict[str, Any]) -> bool:
    return message["type"] == "receipt_created"


def publish(served: Served, *changes: NewEvent) -> None:
    """Store changes."""

    async def write(context: Context) -> None:
        await context.database.write(events.add, changes, context.clock())

    served.do(write)


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_has_a_jobs_changes_from_its_submission_to_its_receipt(
    client: httpx.Client, served: Served, miner: ScriptedMiner, path: str
) -> None:
    """In the form of the reference, and without any other message."""
    with StreamSocket(served.url, served.client_key, path) as stream:
        job_id = run(client, miner)
        received = stream.until(receipt)
    assert story(job_id, received) == WHOLE
    assert len(received) == len(WHOLE)
    for message in received:
        assert set(message) == {"type", "data", "seq"}
    update = received[2]["data"]
    assert update["timestamp"].endswith("Z")
    assert (update["job_id"], update["status"], update["miner_id"]) == (job_id, "completed", miner.miner_id)


@pytest.mark.parametrize("way", ["header", "api key", "query", "message"])
def test_the_key_can_be_sent_in_four_ways(client: httpx.Client, served: Served, way: str) -> None:
    key = served.client_key
    ways = {
        "header": {"headers": {"Authorization": f"Bearer {key}"}},
        "api key": {"headers": {"X-API-Key": key}},
        "query": {"token": key},
        "message": {},
    }
    with StreamSocket(served.url, **ways[way]) as stream:
        if way == "message":
            stream.send({"type": "auth", "token": key})
            confirmed = stream.next()
            assert confirmed["type"] == "subscribed"
            assert confirmed["data"]["types"] == [
                "job_update",
                "marketplace_update",
                "payout_update",
                "receipt_created",
            ]
        job_id = submit(client)
        assert story(job_id, [stream.next()]) == WHOLE[:1]


@pytest.mark.parametrize("way", ["header", "query", "message"])
def test_an_invalid_key_is_refused_with_an_error_and_a_closing_code(served: Served, way: str) -> None:
    wrong = "aitbc_client_wrong"
    with StreamSocket(
        served.url, wrong if way == "header" else None, **({"token": wrong} if way == "query" else {})
    ) as stream:
        if way == "message":
            stream.send({"type": "auth", "token": wrong})
        code, error = stream.refusal()
    assert (code, error["code"]) == (4401, "UNAUTHORIZED")


def test_a_client_without_a_key_is_refused_after_a_timeout(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", streams={"auth_seconds": 0.2}) as served,
        StreamSocket(served.url) as stream,
    ):
        code, error = stream.refusal()
    assert (code, error["code"]) == (4401, "UNAUTHORIZED")
    assert "?token=KEY" in error["message"]


@pytest.mark.parametrize(
    "message", ["{", "5", '{"type": "auth"}', '{"type": "subscribe"}', '{"type": "auth", "token": 5}']
)
def test_a_first_message_without_a_key_is_refused(served: Served, message: str) -> None:
    with StreamSocket(served.url) as stream:
        stream.send(message)
        code, error = stream.refusal()
    assert (code, error["code"]) == (4422, "VALIDATION_ERROR")
    assert error["details"]["fields"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"types": "job_update,weather"}, "types"),
        ({"types": ""}, "types"),
        ({"after": "-1"}, "after"),
        ({"after": "x"}, "after"),
        ({"after": str(2**53)}, "after"),
        ({"job_ids": "x" * 65}, "job_ids"),
        ({"job_id": "job_1"}, "job_id"),
    ],
)
def test_an_invalid_filter_is_refused_with_the_name_of_its_field(
    served: Served, query: dict[str, str], field: str
) -> None:
    with StreamSocket(served.url, served.client_key, **query) as stream:
        code, error = stream.refusal()
    assert (code, error["code"]) == (4422, "VALIDATION_ERROR")
    assert {name.split(".")[0] for name in error["details"]["fields"]} == {field}


def test_a_query_chooses_types_and_jobs(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    first, second = submit(client), submit(client)
    query = {"types": "job_update,receipt_created", "job_ids": f"{second},job_of_nobody", "after": 0}
    with StreamSocket(served.url, served.client_key, **query) as stream:
        for lease in miner.poll(slots=2):
            miner.complete(lease, RESULTS)
        received = stream.until(receipt)
    assert story(second, received) == [item for item in WHOLE if item[0] != "marketplace_update"]
    assert story(first, received) == []


def test_a_message_changes_the_filter_without_a_gap(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """The filter applies from the stream's position or from a number; an invalid one changes nothing."""
    with StreamSocket(served.url, served.client_key, types="receipt_created") as stream:
        first = run(client, miner)
        assert story(first, [stream.next()]) == WHOLE[-1:]
        answer = stream.subscribe(types=["job_update"])
        assert answer["data"]["types"] == ["job_update"]
        second = submit(client)
        assert story(second, [stream.next()]) == WHOLE[:1]
        for wrong in ({"types": ["weather"]}, {"types": []}, {"job_ids": []}, {"after": -1}, {"until": 5}):
            error = stream.subscribe(**wrong)["error"]
            assert (error["code"], next(iter(error["details"]["fields"])).split(".")[0]) == (
                "VALIDATION_ERROR",
                next(iter(wrong)),
            )
        third = submit(client)
        assert story(third, [stream.next()]) == WHOLE[:1]
        stream.last = 0
        stream.subscribe(job_ids=[first], after=0)
        assert story(first, stream.until(receipt)) == WHOLE


@pytest.mark.parametrize("message", ["{", "[]", '{"type": "weather"}', '{"type": "auth", "token": "x"}'])
def test_an_invalid_message_is_answered_and_the_stream_continues(
    client: httpx.Client, served: Served, message: str
) -> None:
    with StreamSocket(served.url, served.client_key) as stream:
        stream.send(message)
        assert stream.next()["error"]["code"] == "VALIDATION_ERROR"
        job_id = submit(client)
        assert story(job_id, [stream.next()]) == WHOLE[:1]


def test_limits_on_messages_filters_and_connections(tmp_path: Path) -> None:
    limits = {"max_message": "1Ki", "max_job_ids": 2, "connections_per_account": 2}
    with serve(tmp_path / "data", streams=limits) as served:
        with StreamSocket(served.url, served.client_key) as stream:
            stream.send({"type": "subscribe", "job_ids": ["x" * 2000]})
            assert stream.refusal()[0] == 4413
        with StreamSocket(served.url, served.client_key, job_ids="a,b,c") as stream:
            code, error = stream.refusal()
            assert (code, error["details"]["fields"]) == (4422, {"job_ids": "at most 2 jobs"})
        headers = {"Authorization": f"Bearer {served.client_key}"}
        client = httpx.Client(base_url=served.url, headers=headers)
        job_id = submit(client)
        with (
            StreamSocket(served.url, served.client_key) as stream,
            client.stream("GET", f"/v1/jobs/{job_id}/events"),
        ):
            with StreamSocket(served.url, served.client_key) as third:
                code, error = third.refusal()
            assert (code, error["code"]) == (4429, "RATE_LIMIT_EXCEEDED")
            answer = client.get(f"/v1/jobs/{job_id}/events")
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
            with StreamSocket(served.url, served.other_key) as another:
                another.subscribe()
        end = time.monotonic() + 60
        while served.context.part(OpenStreams).by_owner:  # closed streams are no longer counted
            assert time.monotonic() < end
            time.sleep(0.02)


def test_callers_receive_messages_of_their_own_only(served: Served, miner: ScriptedMiner) -> None:
    """A client those of its account, a miner's owner those of the miner, both offers, an administrator all."""
    other_miner = ScriptedMiner(served.url)
    other_miner.register()
    keys = {
        "client": served.client_key,
        "other": served.other_key,
        "miner": miner.registration["api_key"],
        "other miner": other_miner.registration["api_key"],
        "admin": served.admin_key,
    }
    with ExitStack() as opened:
        streams = {
            who: opened.enter_context(StreamSocket(served.url, key, types=EVERY_TYPE))
            for who, key in keys.items()
        }
        begun = streams["admin"].subscribe(types=EVERY_TYPE.split(","))["data"]["after"]
        jobs = {}
        for who in ("client", "other"):
            client = httpx.Client(base_url=served.url, headers={"X-API-Key": keys[who]})
            jobs[who] = submit(client, name=f"secret-of-{who}")
            (lease,) = miner.poll()
            token = {"kind": "token", "data": {"text": f"words-of-{who}"}}
            miner.job(lease, "events", events=[token, {"kind": "progress", "data": {"progress": 50}}])
            miner.complete(lease, RESULTS)
        publish(served, NewEvent("marketplace_update", {"kind": "offer", "marker": "offer"}))
        received = {
            who: stream.until(lambda message: message["data"].get("marker") == "offer")
            for who, stream in streams.items()
        }
    everything = [*WHOLE[:2], ("job_progress", "running"), ("job_event", ""), *WHOLE[2:]]
    for who, other in (("client", "other"), ("other", "client")):
        assert story(jobs[who], received[who]) == everything
        assert story(jobs[other], received[who]) == []
        assert f"words-of-{who}" in json.dumps(received[who])
        assert f"words-of-{other}" not in json.dumps(received[who])
        assert story(jobs[who], received["admin"]) == everything
        assert story(jobs[who], received["miner"]) == [
            item for item in everything if item != WHOLE[0] and item[0] != "job_event"
        ]
    assert "words-of" not in json.dumps(received["miner"])
    assert [message["data"].get("marker") for message in received["other miner"]] == ["offer"]
    # The same messages again, from the database and the history.
    for who, key in keys.items():
        with StreamSocket(served.url, key, types=EVERY_TYPE, after=begun) as stream:
            again = stream.until(lambda message: message["data"].get("marker") == "offer")
        assert again == received[who]


def test_a_lone_surrogate_does_not_break_a_stream(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    body = b'{"fence": 1, "events": [{"kind": "token", "data": {"text": "\\ud800"}}]}'
    with StreamSocket(served.url, served.client_key, types="job_event") as stream:
        headers = {"Content-Type": "application/json"}
        miner.http.post(f"/jobs/{job_id}/events", content=body, headers=headers).raise_for_status()
        assert stream.next()["data"]["text"] == "\ud800"
    assert miner.complete(lease, RESULTS).status_code == 200


def test_a_miners_owner_receives_that_its_miner_has_lost_a_job(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    with StreamSocket(served.url, miner.registration["api_key"]) as stream:
        job_id = submit(client)
        (lease,) = miner.poll()
        miner.job(lease, "release", reason="shutdown")
        assert story(job_id, [stream.next(), stream.next()]) == [WHOLE[1], WHOLE[0]]


def test_an_idle_stream_sends_heartbeats_with_its_position(tmp_path: Path) -> None:
    """The number in a heartbeat includes messages that the stream filters out."""
    with serve(tmp_path / "data", streams={"heartbeat_seconds": 0.1}) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
        with StreamSocket(served.url, served.client_key) as stream:
            before = stream.next()
            submit(client)
            after = before
            while after["data"]["after"] == before["data"]["after"]:
                after = stream.next()
        assert set(before) == {"type", "data"}
        assert before["type"] == after["type"] == "heartbeat"
        assert after["data"]["after"] > before["data"]["after"]


@pytest.mark.parametrize("kind", ["client", "admin"])
def test_a_revoked_key_ends_its_streams_within_seconds(
    served: Served, client: httpx.Client, kind: str
) -> None:
    async def make(context: Context) -> access.CreatedKey:
        account = await access.create_account(context, "leaving") if kind == "client" else None
        return await access.create_key(context, Role(kind), name="leaving", account_id=account)

    async def revoke(context: Context) -> None:
        await access.revoke_key(context, key.record.key_id)

    key = served.do(make)
    job_id = submit(client)
    with StreamSocket(served.url, key.secret) as stream, StreamSocket(served.url, served.client_key) as stays:
        if kind == "admin":
            headers = {"X-API-Key": key.secret}
            with httpx.stream("GET", f"{served.url}/v1/jobs/{job_id}/events", headers=headers) as followed:
                lines = followed.iter_lines()
                next(lines)
                served.do(revoke)
                list(lines)
        else:
            served.do(revoke)
        code, error = stream.refusal()
        assert (code, error["code"]) == (4401, "UNAUTHORIZED")
        stays.subscribe()
