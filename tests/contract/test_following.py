"""The SDK follows a job of the real coordinator."""

from __future__ import annotations

import httpx

from aitbc import AITBCClient, JobEvent
from support.jobs import submit
from support.scripted_miner import ScriptedMiner
from support.server import Served

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
LIMIT_SECONDS = 20


def test_a_job_is_followed_to_its_end(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    """What the miner says arrives while the job runs."""
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


def _status(event: JobEvent) -> str:
    assert event.job is not None
    return event.job.status
