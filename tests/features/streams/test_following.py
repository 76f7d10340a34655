"""The SDK follows a job of the real coordinator."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import httpx

from aitbc import AITBCClient, AsyncAITBCClient, JobEvent, StreamEvent
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
LIMIT_SECONDS = 180


def test_a_job_is_followed_to_its_end(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    """Events of the miner arrive while the job runs."""
    job_id = submit(client)
    with AITBCClient(served.client_key, served.url) as sdk:
        events = sdk.jobs.events(job_id, timeout=LIMIT_SECONDS)
        assert _status(next(events)) == "submitted"
        (lease,) = miner.poll()
        assert _status(next(events)) == "running"
        miner.job(lease, "events", events=[{"kind": "segment", "data": {"text": "hel"}}])
        segment = next(events)
        assert (segment.kind, segment.data["text"]) == ("segment", "hel")
        assert miner.complete(lease, RESULTS).status_code == 200
        assert [_status(event) for event in events] == ["completed"]


def test_a_subscriber_receives_the_events_of_every_job(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Changes by default, tokens on request, and messages between two loops."""
    with AITBCClient(served.client_key, served.url) as sdk:
        events = sdk.events(types=["job_update", "job_event"], after=0, timeout=LIMIT_SECONDS)
        job_id = submit(client)
        received = [next(events)]
        while received[-1].data.get("job_id") != job_id:
            received.append(next(events))
        events.close()
        (lease,) = miner.poll()
        miner.job(lease, "events", events=[{"kind": "token", "data": {"text": "hel"}}])
        miner.complete(lease, RESULTS)
        events = sdk.events(types=["job_update", "job_event"], after=received[-1].seq, timeout=LIMIT_SECONDS)
        rest = [next(events) for _ in range(3)]
        events.close()
    assert [event.data.get("status", event.data.get("text")) for event in rest] == [
        "running",
        "hel",
        "completed",
    ]


def test_the_asyncio_client_receives_events(client: httpx.Client, served: Served) -> None:
    async def listen() -> StreamEvent:
        async with (
            AsyncAITBCClient(served.client_key, served.url) as sdk,
            aclosing(sdk.events(after=0, job_ids=[job_id], timeout=LIMIT_SECONDS)) as events,
        ):
            async for event in events:
                return event
        raise AssertionError("no event arrived")

    job_id = submit(client)
    event = asyncio.run(listen())
    assert (event.type, event.data["job_id"], event.data["status"]) == ("job_update", job_id, "submitted")


def _status(event: JobEvent) -> str:
    assert event.job is not None
    return event.job.status
