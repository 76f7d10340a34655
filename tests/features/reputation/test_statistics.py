"""Statistics of the market and of miners, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served

RESULTS = {"text": "hello", "units": 2, "processing_time": 0.5}


def test_statistics_follow_the_jobs(client: httpx.Client, miner: ScriptedMiner) -> None:
    def market() -> dict[str, Any]:
        numbers: dict[str, Any] = client.get("/v1/marketplace/stats").json()
        return numbers

    def of_miner() -> dict[str, Any]:
        numbers: dict[str, Any] = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
        return numbers

    fresh = of_miner()
    assert (fresh["reputation"], fresh["total_jobs"], fresh["total_earned"]) == (3.0, 0, "0")
    assert market()["active_miners"] == 1
    submit(client)
    submit(client)
    cancelled = submit(client)
    client.delete(f"/v1/jobs/{cancelled}")
    first, second = miner.poll(slots=2)
    assert (market()["total_jobs"], market()["active_jobs"]) == (3, 2)
    assert miner.complete(first, RESULTS).status_code == 200
    assert miner.job(second, "fail", kind="fail", code="BAD_INPUT", message="no").status_code == 200
    numbers = market()
    duration = numbers.pop("average_completion_time")
    assert 0 < duration < 20
    assert numbers == {
        "total_jobs": 3,
        "active_jobs": 0,
        "completed_jobs": 1,
        "failed_jobs": 1,
        "total_volume": "0.002",
        "active_miners": 1,
    }
    after = of_miner()
    assert (after["total_jobs"], after["success_rate"], after["total_earned"]) == (1, 1.0, "0.002")
    assert after["average_completion_time"] == duration
    assert after["reputation"] > 3.0
    miner.http.post(
        "/heartbeat", json={"leases": [], "gpus": [], "paused": "by its owner"}
    ).raise_for_status()
    assert market()["active_miners"] == 0
    unknown = client.get("/v1/miners/miner_unknown/stats")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_only_failures_and_refused_results_lower_the_reputation(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Wrong input, cancellations and released leases do not."""

    def reputation() -> float:
        value: float = client.get(f"/v1/miners/{miner.miner_id}/stats").json()["reputation"]
        return value

    def running() -> dict[str, Any]:
        submit(client, max_attempts=1)
        while not (leases := miner.poll()):  # a poll may return only a cancellation
            pass
        return leases[0]

    miner.job(running(), "fail", kind="fail", code="BAD_INPUT", message="no audio")
    client.delete(f"/v1/jobs/{running()['job_id']}")
    lease = running()
    miner.job(lease, "release", reason="shutdown")
    client.delete(f"/v1/jobs/{lease['job_id']}")
    assert reputation() == 3.0
    miner.job(running(), "fail", kind="retry", code="CRASHED", message="the runner crashed")
    failed_once = reputation()
    assert failed_once < 3.0
    lease = running()
    forged = miner.result_body(lease, RESULTS, fence=7)
    assert miner.http.post(f"/jobs/{lease['job_id']}/result", json=forged).status_code == 422
    refused_once = reputation()
    assert refused_once < failed_once
    assert job(client, lease["job_id"])["status"] == "running"
    stranger = ScriptedMiner(served.url)
    stranger.register().raise_for_status()
    foreign = stranger.result_body(lease, RESULTS, origin="another.log")
    assert stranger.http.post(f"/jobs/{lease['job_id']}/result", json=foreign).status_code == 422
    numbers = client.get(f"/v1/miners/{stranger.miner_id}/stats").json()
    assert (numbers["reputation"], numbers["refused_results"]) == (3.0, 0)
    assert miner.complete(lease, RESULTS).status_code == 200
    assert reputation() > refused_once
    numbers = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
    assert (numbers["total_jobs"], numbers["failed_runs"], numbers["refused_results"]) == (2, 1, 1)
