"""Where a job goes after it has failed, and what the failure costs its miner."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agent.coordinator.dispatch import fleet
from agent.core import jobs as lifecycle
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import job, submit
from support.server import Served

CRASHED = {"kind": "retry", "code": "RUNNER_CRASHED", "message": "It crashed."}
NO_EEVEE = {"kind": "retry", "code": "ENGINE_UNAVAILABLE", "message": "EEVEE does not work here; use cycles."}
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}
SCENE = {"blend_file_url": "https://example.com/a.blend"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is claimable again right after a failure, so that only the choice of the miner is tested."""
    monkeypatch.setattr(lifecycle, "RETRY_SECONDS", 0.0)


@pytest.fixture
def other(served: Served) -> ScriptedMiner:
    other = ScriptedMiner(served.url)
    assert other.register(name="other").status_code == 200
    return other


def render(client: httpx.Client) -> str:
    answer = client.post("/v1/services/blender/render", json=SCENE)
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def fail(miner: ScriptedMiner, **failure: Any) -> str:
    """Let the miner's only new lease fail. Returns the job's new status."""
    (lease,) = miner.poll()
    answer = miner.job(lease, "fail", **failure)
    assert answer.status_code == 200, answer.text
    status: str = answer.json()["status"]
    return status


def reputation(client: httpx.Client, miner: ScriptedMiner) -> float:
    value: float = client.get(f"/v1/miners/{miner.miner_id}/stats").json()["reputation"]
    return value


@pytest.mark.needs("waits")
def test_the_second_try_is_another_miners_even_if_that_one_is_busy(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    job_id = submit(client)
    assert fail(miner, **CRASHED) == "submitted"
    assert miner.poll(wait=0.3) == []
    failed = {
        one["name"]: one["reasons"] for one in client.get(f"/v1/jobs/{job_id}/explain").json()["miners"]
    }
    assert failed == {"scripted": ["FAILED_THERE"], "other": ["MINER_BUSY"]}
    assert [lease["job_id"] for lease in other.poll()] == [job_id]


def test_other_jobs_of_the_miner_go_on(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    submit(client)
    assert fail(miner, **CRASHED) == "submitted"
    second = submit(client)
    assert [lease["job_id"] for lease in miner.poll()] == [second]


def test_a_job_that_waits_for_another_miner_delays_no_round(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All known miners are read once in a while, not in each round."""
    read: list[bool] = []
    known_miners = fleet.known_miners

    def counted(*given: Any) -> Any:
        read.append(True)
        return known_miners(*given)

    monkeypatch.setattr(fleet, "known_miners", counted)
    monkeypatch.setattr(fleet, "VALID_SECONDS", 60.0)
    waits = submit(client)
    read.clear()  # the submission has read them too
    assert fail(miner, **CRASHED) == "submitted"
    for _ in range(5):
        second = submit(client)
        (lease,) = miner.poll()
        assert lease["job_id"] == second
        assert miner.complete(lease, RESULTS).status_code == 200
    assert len(read) == 1
    other.http.post("/heartbeat", json={"leases": [], "paused": "by hand"}).raise_for_status()
    monkeypatch.setattr(fleet, "VALID_SECONDS", 0.0)
    assert [lease["job_id"] for lease in miner.poll()] == [waits]


@pytest.mark.parametrize("state", ["paused", "unable"])
def test_the_second_try_is_the_same_miners_if_no_other_can_run_the_job(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner, state: str
) -> None:
    job_id = submit(client)
    assert fail(miner, **CRASHED) == "submitted"
    if state == "paused":
        other.http.post("/heartbeat", json={"leases": [], "paused": "by hand"}).raise_for_status()
    else:
        able = capabilities()
        del able["services"]["whisper_transcription"]
        other.http.post("/heartbeat", json={"leases": [], "capabilities": able}).raise_for_status()
    assert [lease["job_id"] for lease in miner.poll()] == [job_id]


def test_what_a_machine_lacks_costs_no_reputation_and_is_not_tried_there_again(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Without another miner, the job fails at once, with the message that says what to change, and costs nothing."""
    before = reputation(client, miner)
    job_id = render(client)
    assert fail(miner, **NO_EEVEE, units="5") == "failed"
    failed = job(client, job_id)
    assert (failed["error"]["message"], failed["attempts"], failed["cost"]) == (NO_EEVEE["message"], 1, "0")
    assert reputation(client, miner) == before


def test_what_a_machine_lacks_is_tried_on_each_other_miner_once(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    job_id = render(client)
    assert fail(miner, **NO_EEVEE) == "submitted"
    assert fail(other, **NO_EEVEE) == "failed"
    assert job(client, job_id)["attempts"] == 2


@pytest.mark.needs("waits")
@pytest.mark.parametrize("code", ["OUT_OF_MEMORY", "MODEL_UNAVAILABLE", "GPU_UNAVAILABLE"])
def test_jobs_that_a_machine_cannot_run_pause_only_their_service(
    client: httpx.Client, served: Served, miner: ScriptedMiner, code: str
) -> None:
    before = reputation(client, miner)
    failure = {"kind": "retry", "code": code, "message": "Not here."}
    for _ in range(int(served.context.settings.releases_tolerated) + 1):
        submit(client, max_attempts=1)
        assert fail(miner, **failure) == "failed"
    waiting = submit(client)
    assert miner.poll(wait=0.3) == []
    reasons = client.get(f"/v1/jobs/{waiting}/explain").json()["reasons"]
    assert [reason["code"] for reason in reasons] == ["SERVICE_PAUSED"]
    scene = render(client)
    assert [lease["job_id"] for lease in miner.poll()] == [scene]
    assert reputation(client, miner) == before


def test_a_named_engine_is_sought_where_it_works(
    client: httpx.Client, miner: ScriptedMiner, served: Served
) -> None:
    able = capabilities()
    able["services"]["blender_rendering"]["features"] = {"engines": ["cycles"]}
    assert miner.register(capabilities=able).status_code == 200
    with_eevee = ScriptedMiner(served.url)
    with_eevee.register()
    answer = client.post("/v1/services/blender/render", json={**SCENE, "engine": "eevee"})
    assert miner.poll(wait=0.3) == []
    assert [lease["job_id"] for lease in with_eevee.poll()] == [answer.json()["job_id"]]
