"""Audits respect which miners the client trusts: an auditor sees the job and its result."""

from __future__ import annotations

from pathlib import Path

import httpx

from agent.coordinator.features.audits.rounds.asking import NOBODY
from support.audits.stage import SERVICE, TRUE, Stage, staged
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER

TRUSTED = 3.1
"""The reputation of a miner with one good run is higher, that of a new one lower."""


def test_attack_a_miner_of_low_reputation_does_not_see_the_job_as_its_auditor(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        worker, spy, auditor = trusted(stage, audits=False), stage.miner(price="0"), trusted(stage)
        job_id = stage.work(worker, TRUE, min_reputation=TRUSTED)
        stage.advance()
        assert spy.poll(4, wait=0.3) == []
        assert stage.answer(auditor, "pass")["spec"]["audit"]["results"] == TRUE
        assert stage.audit(job_id)["verdict"] == "pass"
        assert stage.reputation(spy) < TRUSTED


def test_an_audit_ends_if_no_auditor_has_the_reputation(tmp_path: Path) -> None:
    with staged(tmp_path, wait_seconds=0.01) as stage:
        worker, spy = trusted(stage, audits=False), stage.miner()
        job_id = stage.work(worker, TRUE, min_reputation=TRUSTED)
        stage.advance()
        stage.advance()
        assert spy.poll(4, wait=0.3) == []
        assert (stage.audit(job_id)["verdict"], stage.audit(job_id)["reason"]) == ("unproven", NOBODY)
        body = {"type": SERVICE, "parameters": WHISPER, "min_reputation": TRUSTED, "audited": True}
        refused = stage.client.post("/v1/jobs", json=body)
        assert refused.status_code == 422
        (reason,) = refused.json()["error"]["details"]["reasons"]
        assert reason["code"] == "NO_AUDITOR"
        assert "no miner of another owner with a reputation of at least 3.1" in reason["message"]


def test_attack_the_job_of_a_chosen_miner_is_shown_to_no_other_unless_the_client_asks(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        worker, other = stage.miner(), stage.miner()
        offer_id = offered(stage, worker)
        chosen = {"miner_id": worker.miner_id}
        for choice in (chosen, {"offer_id": offer_id}):
            job_id = stage.work(worker, TRUE, **choice)
            stage.advance()
            assert other.poll(4, wait=0.2) == []
            assert stage.client.get(f"/v1/jobs/{job_id}/audit").status_code == 404
        asked = stage.work(worker, TRUE, **chosen, audited=True)
        stage.answer(other, "pass")
        assert stage.audit(asked)["verdict"] == "pass"
        stage.check()


def offered(stage: Stage, miner: ScriptedMiner) -> str:
    body = {"job_type": "whisper-transcription", "price": "0.001", "max_jobs": 2, "duration": 3600}
    owner = {"X-API-Key": stage.keys[miner.miner_id]}
    answer = httpx.post(f"{stage.served.url}/v1/marketplace/offers", json=body, headers=owner)
    return str(answer.raise_for_status().json()["offer_id"])


def trusted(stage: Stage, *, audits: bool = True) -> ScriptedMiner:
    """Return a miner that has done a job for a client who has chosen it."""
    miner = stage.miner(audits=audits)
    stage.work(miner, TRUE, miner_id=miner.miner_id)
    return miner
