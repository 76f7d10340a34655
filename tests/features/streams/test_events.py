"""Following one job with server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.store.events import NewEvent
from aitbc.answers.accounts import Role
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import followed, job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


@pytest.fixture
def socket(miner: ScriptedMiner) -> Iterator[Socket]:
    with Socket(miner) as socket:
        yield socket


def test_following_a_job_yields_its_events_in_order_and_ends(
    client: httpx.Client, miner: ScriptedMiner, socket: Socket
) -> None:
    job_id = submit(client)
    with followed(client, job_id) as events:
        kind, data = next(events)
        assert (kind, data["job_id"], data["status"]) == ("job_update", job_id, "submitted")
        socket.slots(1)
        lease = socket.lease()
        kind, data = next(events)
        assert (kind, data["status"]) == ("job_update", "running")
        segments = [{"kind": "segment", "data": {"text": word}} for word in ("Please", "transcribe")]
        body = {"fence": lease["fence"], "events": segments}
        assert socket.call("events", job_id, body) == (204, {})
        published = [next(events), next(events)]
        assert [kind for kind, _ in published] == ["job_event"] * 2
        assert [data for _, data in published] == [
            {"job_id": job_id, "kind": "segment", "text": "Please"},
            {"job_id": job_id, "kind": "segment", "text": "transcribe"},
        ]
        progress = [{"kind": "progress", "data": {"progress": 41}}]
        assert socket.call("events", job_id, {"fence": lease["fence"], "events": progress}) == (204, {})
        kind, data = next(events)
        assert (kind, data["status"], data["progress"]) == ("job_update", "running", 41)
        assert miner.complete(lease, RESULTS).status_code == 200
        kind, data = next(events)
        assert (kind, data["status"], data["progress"]) == ("job_update", "completed", 100)
        assert list(events) == []


def test_a_run_cannot_forge_events_of_another_job(client: httpx.Client, socket: Socket) -> None:
    job_id = submit(client)
    socket.slots(1)
    lease = socket.lease()
    with followed(client, job_id) as events:
        next(events)
        forged = [{"kind": "segment", "data": {"job_id": "job_other", "kind": "job_update", "text": "x"}}]
        assert socket.call("events", job_id, {"fence": lease["fence"], "events": forged})[0] == 204
        assert next(events) == ("job_event", {"job_id": job_id, "kind": "segment", "text": "x"})


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_following_an_ended_job_yields_its_state_once(
    client: httpx.Client, miner: ScriptedMiner, end: str
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    if end == "completed":
        miner.complete(lease, RESULTS)
    elif end == "failed":
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No audio.")
    else:
        client.delete(f"/v1/jobs/{job_id}")
    with followed(client, job_id) as events:
        ((kind, data),) = events
    shown = job(client, job_id)
    assert data.pop("timestamp") == shown[f"{end}_at"]
    details = {"inputs", "parameters"}  # are not in events
    assert (kind, data) == ("job_update", {key: shown[key] for key in shown.keys() - details})
    assert data["status"] == end


@pytest.mark.parametrize("history", [64, 2000])
def test_a_slow_reader_loses_segments_beyond_the_history_but_never_the_end(
    tmp_path: Path, history: int
) -> None:
    """More events arrive at once than the queue holds, the job ends meanwhile, and a resync marks the gap."""
    with serve(tmp_path / "data", open_enrolment=True, streams={"queue": 64, "history": history}) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        job_id = submit(client)
        with Socket(miner) as socket, followed(client, job_id) as events:
            socket.slots(1)
            lease = socket.lease()
            next(events)
            segments = [{"kind": "segment", "data": {"number": number}} for number in range(1000)]
            socket.send("events", job_id, {"fence": lease["fence"], "events": segments})
            # On the same connection, which processes the calls about one job in order.
            result = socket.send("result", job_id, miner.result_body(lease, RESULTS))
            assert socket.answer(result)[0] == 200
            received = list(events)
    assert received[-1][0] == "job_update"
    assert received[-1][1]["status"] == "completed"
    numbers = [data["number"] for kind, data in received if kind == "job_event"]
    assert numbers == sorted(set(numbers))
    assert (len(numbers) == 1000) == (history > 1000)
    gap = next(index for index, (kind, _) in enumerate(received) if kind == "resync")
    before = [data["number"] for kind, data in received[:gap] if kind == "job_event"]
    assert before == list(range(len(before)))


def test_all_tokens_arrive_in_order_and_before_the_end(
    client: httpx.Client, served: Served, miner: ScriptedMiner, socket: Socket
) -> None:
    """The miner sends without waiting for answers, with progress and the result among the tokens."""
    job_id = submit(client)
    socket.slots(1)
    lease = socket.lease()
    count = 800
    with followed(client, job_id) as events:
        next(events)
        calls = []
        for first in range(0, count, 10):
            batch = [{"kind": "token", "data": {"number": first + index}} for index in range(10)]
            if first % 100 == 0:
                batch.append({"kind": "progress", "data": {"progress": first // 10}})
            calls.append(socket.send("events", job_id, {"fence": lease["fence"], "events": batch}))
        calls.append(socket.send("result", job_id, miner.result_body(lease, RESULTS)))
        received = list(events)
    assert [socket.answer(call)[0] for call in calls] == [204] * (count // 10) + [200]
    assert [data["number"] for kind, data in received if kind == "job_event"] == list(range(count))
    assert {kind for kind, _ in received} == {"job_event", "job_update"}
    assert received[-1][1]["status"] == "completed"


def test_events_published_before_the_end_arrive_before_it(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Even if the database has the end before the reader has read the events."""
    job_id = submit(client)
    miner.poll()

    async def end_while_the_reader_waits(context: Context) -> None:
        published = [{"job_id": job_id, "kind": "token", "number": number} for number in range(20)]
        await context.feed.publish([NewEvent("job_event", data, job_id=job_id) for data in published])
        await context.database.write(own_jobs._cancel, Caller(Role.ADMIN), job_id, context.clock())

    with followed(client, job_id) as events:
        next(events)
        served.do(end_while_the_reader_waits)
        received = list(events)
    assert [data.get("number", data.get("status")) for _, data in received] == [*range(20), "cancelled"]


def test_tokens_cause_no_write(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    """Only progress and outputs are stored."""
    submit(client)
    (lease,) = miner.poll()
    token = {"kind": "token", "data": {"text": "a"}}
    stored = miner.upload(b"{}", "application/json")
    output = {**stored, "name": "part_0001.json"}
    for events, writes in (
        ([token] * 100, 0),
        ([token, {"kind": "progress", "data": {"progress": 5}}], 1),
        ([token, {"kind": "output", "data": output}, {"kind": "progress", "data": {"progress": 6}}], 1),
        ([], 0),
    ):
        before = served.context.database.writes
        assert miner.job(lease, "events", events=events).status_code == 204
        assert served.context.database.writes - before == writes


def test_followers_see_that_a_restart_of_the_miner_failed_the_job(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client, max_attempts=1)
    miner.poll()
    with followed(client, job_id) as events:
        next(events)
        miner.register()
        received = list(events)
    assert [data["status"] for _, data in received] == ["failed"]
    assert received[0][1]["error"]["code"] == "LEASE_EXPIRED"


def test_followers_see_why_a_run_failed_that_is_repeated(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client, max_attempts=2)
    (lease,) = miner.poll()
    with followed(client, job_id) as events:
        next(events)
        miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="The disk is full.")
        _, again = next(events)
    assert (again["status"], again["attempts"], again["max_attempts"]) == ("submitted", 1, 2)
    assert again["last_failure"] == {"code": "DISK_FULL", "message": "The disk is full."}
