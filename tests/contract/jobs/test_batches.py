"""Miners that run several jobs of one model in a batch, and models that are unavailable on a miner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served, serve

WHISPER = "whisper_transcription"


def offering(slots: int = 1, **changes: Any) -> dict[str, Any]:
    """Return capabilities with changes to the transcription service."""
    offered = capabilities(slots=slots)
    offered["services"][WHISPER] |= changes
    return offered


def registered(served: Served, slots: int = 1, **changes: Any) -> ScriptedMiner:
    miner = ScriptedMiner(served.url)
    answer = miner.register(capabilities=offering(slots, **changes))
    assert answer.status_code == 200, answer.text
    return miner


def batch_capacity(count: int, model: str = "base") -> list[dict[str, Any]]:
    return [{"service": WHISPER, "model": model, "free": count}]


def test_a_free_slot_is_filled_with_jobs_of_one_model(client: httpx.Client, served: Served) -> None:
    """It gets at most as many as a batch of the miner holds; a job of another model waits for a slot of its own."""
    jobs = [submit(client, model=model) for model in ("base", "tiny.en", "base", "base", "base")]
    with Socket(registered(served, concurrency=3)) as socket:
        socket.slots(1)
        assert [socket.lease()["job_id"] for _ in range(3)] == [jobs[0], jobs[2], jobs[3]]
        assert socket.nothing_comes()
        socket.slots(1, batch_capacity=batch_capacity(0))
        assert socket.lease()["job_id"] == jobs[1]
        assert socket.nothing_comes()


def test_batch_capacity_gets_jobs_of_its_model_without_a_free_slot(
    client: httpx.Client, served: Served
) -> None:
    submit(client, model="tiny.en")
    expected = [submit(client) for _ in range(3)]
    miner = registered(served, concurrency=8)
    with Socket(miner) as socket:
        socket.slots(0, batch_capacity=batch_capacity(2))
        assert [socket.lease()["job_id"], socket.lease()["job_id"]] == expected[:2]
        assert socket.nothing_comes()
    # Two batches of one model.
    assert [
        lease["job_id"] for lease in miner.poll(slots=0, batch_capacity=batch_capacity(1) + batch_capacity(0))
    ] == expected[2:]
    assert miner.poll(slots=0, batch_capacity=batch_capacity(5), wait=0.3) == []


def test_a_later_job_joins_the_running_batch(client: httpx.Client, served: Served) -> None:
    with Socket(registered(served, concurrency=2)) as socket:
        socket.slots(1)
        first = submit(client)
        assert socket.lease()["job_id"] == first
        second = submit(client)
        assert socket.lease()["job_id"] == second
        submit(client)
        assert socket.nothing_comes()


def test_leases_in_transit_count_against_announced_batch_capacity(
    client: httpx.Client, served: Served
) -> None:
    """The miner announces its capacity repeatedly before it has received the leases in transit."""
    for _ in range(12):
        submit(client)
    with Socket(registered(served, slots=2, concurrency=3)) as socket:
        for _ in range(5):
            socket.slots(1, received=0, batch_capacity=batch_capacity(1))
        for _ in range(4):
            socket.lease()
        assert socket.nothing_comes()
        # It has received two of them: one used the batch capacity, the other the slot.
        for _ in range(3):
            socket.slots(0, received=2, batch_capacity=batch_capacity(2))
        assert socket.nothing_comes()
        socket.slots(0, received=4, batch_capacity=batch_capacity(1))
        socket.lease()
        assert socket.nothing_comes()


def test_a_job_joins_a_running_batch_before_another_miner_begins_one(
    client: httpx.Client, served: Served
) -> None:
    busy, idle = (registered(served, concurrency=4) for _ in range(2))
    with Socket(busy) as batching, Socket(idle) as other:
        other.slots(1)
        batching.slots(0, batch_capacity=batch_capacity(1))
        assert other.nothing_comes()
        assert batching.nothing_comes()
        first, second = submit(client), submit(client)
        assert batching.lease()["job_id"] == first
        assert other.lease()["job_id"] == second


def test_a_miner_may_hold_a_full_batch_of_leases_per_slot(client: httpx.Client, served: Served) -> None:
    for _ in range(64):
        submit(client)
    assert len(registered(served, slots=2, concurrency=32).poll(slots=2)) == 64


def test_a_job_of_an_unavailable_model_waits_until_the_model_is_available(
    client: httpx.Client, served: Served
) -> None:
    job_id = submit(client)
    other = submit(client, model="tiny.en")
    miner = registered(served, unavailable_models=["base"], downloadable=True)
    with Socket(miner) as socket:
        socket.slots(4)
        assert socket.lease()["job_id"] == other
        assert socket.nothing_comes()
        assert (
            socket.call("heartbeat", body={"leases": [], "capabilities": offering(unavailable_models=[])})[0]
            == 200
        )
        assert socket.lease()["job_id"] == job_id


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 0},
        {"concurrency": 257},
        {"concurrency": "many"},
        {"unavailable_models": "base"},
        {"score": {"metric": "token/s"}},
        {"score": {"metric": "token/s", "value": -1}},
        {"score": 5},
    ],
    ids=json.dumps,
)
def test_capabilities_out_of_bounds_are_refused(served: Served, changes: dict[str, Any]) -> None:
    answer = ScriptedMiner(served.url).register(capabilities=offering(**changes))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


def test_a_score_is_accepted(served: Served) -> None:
    for device in ("Test GPU", None):
        registered(served, score={"metric": "token/s", "value": 24.5, "device": device})


@pytest.mark.parametrize(
    "value", [None, 5, [5], [{"service": WHISPER}], batch_capacity(-1), batch_capacity(257), [{"free": 1}]]
)
def test_invalid_batch_capacity_gives_no_leases(client: httpx.Client, served: Served, value: Any) -> None:
    """The connection remains open."""
    submit(client)
    with Socket(registered(served)) as socket:
        message = {"call": "slots", "slots": 1, "received": 0, "batch_capacity": value}
        socket.connection.send(json.dumps(message))
        assert socket.nothing_comes()
        socket.slots(1)
        socket.lease()


def test_a_miner_that_states_no_batch_capacity_gets_no_batches(client: httpx.Client, served: Served) -> None:
    """Older agents neither register nor send batch fields."""
    older = capabilities(slots=2)
    for offer in older["services"].values():
        for name in ("concurrency", "unavailable_models", "score"):
            del offer[name]
    for _ in range(5):
        submit(client)
    miner = ScriptedMiner(served.url)
    assert miner.register(capabilities=older).status_code == 200
    answer = miner.http.post("/poll", json={"slots": 2, "wait": 10})
    assert len(answer.json()["leases"]) == 2


def test_a_session_that_an_older_coordinator_opened_continues(tmp_path: Path) -> None:
    """The stored capabilities of the miner lack the fields that were added since."""

    def remove_new_fields(connection: Connection) -> None:
        older = capabilities()
        for offer in older["services"].values():
            for name in ("concurrency", "unavailable_models", "score"):
                del offer[name]
        connection.execute(text("UPDATE miners SET capabilities = :older"), {"older": json.dumps(older)})

    with serve(tmp_path / "data", open_enrolment=True) as served:
        miner = registered(served)
        served.do(lambda context: context.database.write(remove_new_fields))
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        job_id = submit(client)
        miner.url = served.url
        with Socket(miner) as socket:
            socket.slots(1)
            assert socket.lease()["job_id"] == job_id
