"""Following one job with server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.jobs import followed, job, submit
from support.miner_socket import Socket
from support.scripted_miner import ScriptedMiner

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


@pytest.fixture
def socket(miner: ScriptedMiner) -> Iterator[Socket]:
    with Socket(miner) as socket:
        yield socket


def test_a_followed_job_tells_what_happens_in_order_and_ends(
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
        said = [next(events), next(events)]
        assert [kind for kind, _ in said] == ["job_event"] * 2
        assert [data for _, data in said] == [
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


def test_a_runs_events_cannot_pass_for_another_jobs(client: httpx.Client, socket: Socket) -> None:
    job_id = submit(client)
    socket.slots(1)
    lease = socket.lease()
    with followed(client, job_id) as events:
        next(events)
        forged = [{"kind": "segment", "data": {"job_id": "job_other", "kind": "job_update", "text": "x"}}]
        assert socket.call("events", job_id, {"fence": lease["fence"], "events": forged})[0] == 204
        assert next(events) == ("job_event", {"job_id": job_id, "kind": "segment", "text": "x"})


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_job_that_has_ended_is_answered_once(client: httpx.Client, miner: ScriptedMiner, end: str) -> None:
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
    assert (kind, data) == ("job_update", job(client, job_id))
    assert data["status"] == end


def test_a_slow_reader_loses_segments_but_never_the_end(
    client: httpx.Client, miner: ScriptedMiner, socket: Socket
) -> None:
    """More comes at once than is kept for it, and the job ends in the middle of that."""
    job_id = submit(client)
    socket.slots(1)
    lease = socket.lease()
    with followed(client, job_id) as events:
        next(events)
        segments = [{"kind": "segment", "data": {"number": number}} for number in range(1000)]
        socket.send("events", job_id, {"fence": lease["fence"], "events": segments})
        assert miner.complete(lease, RESULTS).status_code == 200
        told = list(events)
    assert told[-1][0] == "job_update"
    assert told[-1][1]["status"] == "completed"
    numbers = [data["number"] for kind, data in told if kind == "job_event"]
    assert numbers == sorted(set(numbers))


def test_a_job_that_a_restart_of_its_miner_fails_says_so_to_its_followers(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client, max_attempts=1)
    miner.poll()
    with followed(client, job_id) as events:
        next(events)
        miner.register()
        told = list(events)
    assert [data["status"] for _, data in told] == ["failed"]
    assert told[0][1]["error"]["code"] == "LEASE_EXPIRED"
