"""Staged reasons for waiting: jobs that wait for each of them, at a real coordinator with scripted miners.

Each stage has a miner of its own, which its job names, so that no other stage matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import text

from agent.coordinator.features.throttling import store as throttling
from agent.coordinator.features.throttling.rules import Tally
from agent.coordinator.features.throttling.store import Releases
from agent.coordinator.operations.context import Context
from aitbc.reasons import ReasonCode
from support.clients.scripted_miner import GPU, ScriptedMiner, capabilities
from support.jobs import WHISPER, submit
from support.server import Served

SERVICE = "whisper_transcription"
TRANSCRIBE = "whisper/transcribe"
FAILED: dict[str, Any] = {"kind": "retry", "code": "RUNNER_CRASHED", "message": "The decoder crashed."}


@dataclass
class Stage:
    """A client and a miner; `able` are the miner's capabilities until it registers."""

    served: Served
    key: str
    miner: ScriptedMiner
    able: dict[str, Any] = field(default_factory=capabilities)
    body: dict[str, Any] = field(default_factory=lambda: dict(WHISPER))
    route: str = TRANSCRIBE

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.served.url, headers={"X-API-Key": self.key}, timeout=120)

    def offers(self, **changes: Any) -> None:
        self.able["services"][SERVICE] |= changes

    def beat(self, **changes: Any) -> None:
        self.miner.http.post("/heartbeat", json={"leases": [], **changes}).raise_for_status()

    def submit(self, **options: Any) -> str:
        """Register the miner, and submit the stage's job for it. A job that can never run is refused at first."""
        if not self.miner.registration:
            assert self.miner.register(capabilities=self.able).status_code == 200
        body = {"miner_id": self.miner.miner_id, **self.body, **options}
        answer = self.client.post(f"/v1/services/{self.route}", json={**body, "wait": True})
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["job_id"]
        refused = self.client.post(f"/v1/services/{self.route}", json=body)
        if refused.status_code != 201:
            assert refused.json()["error"]["code"] == "CANNOT_RUN"
            assert refused.json()["error"]["details"]["reasons"] == self.explain(job_id)["reasons"]
        assert (refused.status_code == 422) == (self.explain(job_id)["can_run"] == "never")
        return job_id

    def explain(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}/explain").raise_for_status().json()
        return found

    def store(self, work: Callable[..., Any], *arguments: Any) -> None:
        async def write(context: Context) -> None:
            await context.database.write(work, *arguments)

        self.served.do(write)

    def execute(self, statement: str, **values: Any) -> None:
        self.store(lambda connection: connection.execute(text(statement), values))


def price_above_max_cost(stage: Stage) -> str:
    return stage.submit(pricing={"max_cost": "0.0000001"})


def service_not_offered(stage: Stage) -> str:
    del stage.able["services"][SERVICE]
    stage.able["unavailable"] = {SERVICE: ["faster-whisper is not installed."]}
    return stage.submit()


def feature_missing(stage: Stage) -> str:
    stage.able["services"]["blender_rendering"]["features"] = {"engines": ["cycles"]}
    stage.route, stage.body = (
        "blender/render",
        {"blend_file_url": "https://example.com/a.blend", "engine": "eevee"},
    )
    return stage.submit()


def model_missing(stage: Stage) -> str:
    stage.offers(models=["tiny.en"])
    return stage.submit()


def model_too_large(stage: Stage) -> str:
    stage.able["gpus"] = [{**GPU, "memory_total": 2**28}]
    stage.offers(models=["tiny.en"], downloadable=True, unavailable_models=["base"])
    return stage.submit()


def model_unavailable(stage: Stage) -> str:
    stage.offers(unavailable_models=["base"])
    return stage.submit()


def not_enough_cpu(stage: Stage) -> str:
    return stage.submit(resources={"cpu": "65"})


def not_enough_memory(stage: Stage) -> str:
    return stage.submit(resources={"memory": "1Ti"})


def not_enough_gpus(stage: Stage) -> str:
    return stage.submit(resources={"gpu": "2"})


def reputation_too_low(stage: Stage) -> str:
    return stage.submit(min_reputation=4.5)


def miner_unknown(stage: Stage) -> str:
    return stage.submit(miner_id="miner_aaaaaaaaaaaaaaaaaaaaaaaaaa")


def miner_excluded(stage: Stage) -> str:
    stage.miner.register(capabilities=stage.able)
    admin = {"X-API-Key": stage.served.admin_key}
    path = f"{stage.served.url}/v1/admin/miners/{stage.miner.miner_id}/exclude"
    httpx.post(path, json={"reason": "wrong results"}, headers=admin).raise_for_status()
    return stage.submit()


def miner_offline(stage: Stage) -> str:
    job_id = stage.submit()
    stage.execute("UPDATE miners SET seen_at = 0 WHERE miner_id = :id", id=stage.miner.miner_id)
    return job_id


def miner_paused(stage: Stage) -> str:
    job_id = stage.submit()
    stage.beat(paused="by hand until 18:00")
    return job_id


def miner_asleep(stage: Stage) -> str:
    job_id = stage.submit()
    stage.beat(paused="by schedule until 18:00")
    return job_id


def miner_suspended(stage: Stage) -> str:
    job_id = stage.submit()
    stage.store(throttling.save_releases, stage.miner.miner_id, Releases(Tally(9, 0), 2e10))
    return job_id


def service_paused(stage: Stage) -> str:
    stage.offers(paused="Several of its jobs failed through faults of the machine.")
    return stage.submit()


def failed_there(stage: Stage) -> str:
    job_id = stage.submit()
    (lease, *_) = stage.miner.poll()
    assert lease["job_id"] == job_id
    assert stage.miner.job(lease, "fail", **FAILED).status_code == 200
    return job_id


def miner_busy(stage: Stage) -> str:
    return stage.submit()


def queued(stage: Stage) -> str:
    stage.submit()
    return stage.submit()


def offer_ended(stage: Stage) -> str:
    owner = {"X-API-Key": stage.miner.register(capabilities=stage.able).json()["api_key"]}
    body = {"job_type": SERVICE, "price": "0.001", "max_jobs": 10, "duration": 3600}
    path = f"{stage.served.url}/v1/marketplace/offers"
    offer_id = httpx.post(path, json=body, headers=owner).json()["offer_id"]
    job_id = submit(stage.client, offer_id=offer_id)
    httpx.delete(f"{path}/{offer_id}", headers=owner).raise_for_status()
    answer = stage.client.post(f"/v1/services/{TRANSCRIBE}", json={**WHISPER, "offer_id": offer_id})
    assert answer.json()["error"]["details"]["reasons"][0]["code"] == "OFFER_ENDED"
    return job_id


def account_limit(stage: Stage) -> str:
    running = stage.submit()
    (lease, *_) = stage.miner.poll()
    assert lease["job_id"] == running
    account = "(SELECT account_id FROM jobs WHERE job_id = :id)"
    now = "(SELECT created_at FROM jobs WHERE job_id = :id)"
    stage.execute(f"INSERT INTO client_failures VALUES ({account}, 1000, {now})", id=running)  # noqa: S608 - literals
    return stage.submit()


def files_missing(stage: Stage) -> str:
    stage.miner.register(capabilities=stage.able)
    body = {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py"},
        "miner_id": stage.miner.miner_id,
    }
    job_id: str = stage.client.post("/v1/jobs", json=body).json()["job_id"]
    return job_id


STAGES: dict[ReasonCode, tuple[Callable[[Stage], str], str]] = {
    ReasonCode.PRICE_ABOVE_MAX_COST: (price_above_max_cost, "0.0009999 more"),
    ReasonCode.SERVICE_NOT_OFFERED: (service_not_offered, "faster-whisper is not installed"),
    ReasonCode.FEATURE_MISSING: (feature_missing, "eevee"),
    ReasonCode.MODEL_MISSING: (model_missing, "scripted could fetch it"),
    ReasonCode.MODEL_TOO_LARGE: (model_too_large, "GPU memory"),
    ReasonCode.MODEL_UNAVAILABLE: (model_unavailable, "base"),
    ReasonCode.NOT_ENOUGH_CPU: (not_enough_cpu, "65 CPU cores"),
    ReasonCode.NOT_ENOUGH_MEMORY: (not_enough_memory, "1024.0 GiB"),
    ReasonCode.REPUTATION_TOO_LOW: (reputation_too_low, "3.00; the job requests 4.50"),
    ReasonCode.NOT_ENOUGH_GPUS: (not_enough_gpus, "2 GPUs"),
    ReasonCode.MINER_UNKNOWN: (miner_unknown, "miner_aaaa"),
    ReasonCode.MINER_EXCLUDED: (miner_excluded, "wrong results"),
    ReasonCode.MINER_OFFLINE: (miner_offline, "last seen"),
    ReasonCode.MINER_PAUSED: (miner_paused, "paused by hand until 18:00"),
    ReasonCode.MINER_ASLEEP: (miner_asleep, "by schedule until 18:00"),
    ReasonCode.MINER_SUSPENDED: (miner_suspended, "handed back"),
    ReasonCode.SERVICE_PAUSED: (service_paused, "faults of the machine"),
    ReasonCode.FAILED_THERE: (failed_there, "The decoder crashed. (RUNNER_CRASHED)"),
    ReasonCode.MINER_BUSY: (miner_busy, "busy"),
    ReasonCode.QUEUED: (queued, "come first"),
    ReasonCode.OFFER_ENDED: (offer_ended, "has ended"),
    ReasonCode.ACCOUNT_LIMIT: (account_limit, "1 job at a time"),
    ReasonCode.FILES_MISSING: (files_missing, "model.source"),
}
