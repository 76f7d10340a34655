"""Leases of canaries and of audits reveal nothing by their salts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from agent.coordinator.features.audits import advancing
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.inputs.language_models import NAME
from support.server import Served, serve

SERVICE = "llm_inference"
RESULTS = {
    "text": "Paris",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "units": 2,
    "processing_time": 0.5,
}
SETTINGS = {"least_share": 1.0, "canaries_per_day": 1000}


def miner(served: Served) -> ScriptedMiner:
    able = capabilities()
    able["services"][SERVICE] |= {"models": [NAME], "features": {"audits": True}}
    registered = ScriptedMiner(served.url)
    registered.register(capabilities=able).raise_for_status()
    return registered


def lease_for(served: Served, key: str, target: ScriptedMiner) -> dict[str, Any]:
    body = {"type": SERVICE, "parameters": {"model": NAME, "prompt": "Hello"}}
    answer = httpx.post(f"{served.url}/v1/jobs", json=body, headers={"X-API-Key": key}).raise_for_status()
    job_id = answer.json()["job_id"]
    return next(lease for lease in target.poll(4) if lease["job_id"] == job_id)


def test_attack_a_salt_gives_no_canary_away_and_audits_share_nothing(tmp_path: Path) -> None:
    """A canary looks like another job of an account that the miner knows."""
    with serve(tmp_path, open_enrolment=True, audits=SETTINGS) as served:
        miners = [miner(served), miner(served)]
        salts: dict[str, set[str]] = {one.miner_id: set() for one in miners}
        jobs = set()
        for key in (served.client_key, served.other_key):
            for one in miners:
                lease = lease_for(served, key, one)
                one.complete(lease, RESULTS).raise_for_status()
                jobs.add(lease["job_id"])
                salts[one.miner_id].add(lease["cache_salt"])
        served.do(advancing.advance)
        checks = {lease["job_id"]: lease["cache_salt"] for one in miners for lease in one.poll(8, wait=1.5)}
        assert len(set(checks.values()) - set().union(*salts.values())) == len(checks) > 0
        admin = {"X-API-Key": served.admin_key}
        canary = {"job_id": min(jobs)}
        httpx.post(f"{served.url}/v1/admin/canaries", json=canary, headers=admin).raise_for_status()
        served.do(lambda context: context.database.write(make_due))
        served.do(advancing.advance)
        (found,) = (
            (one, lease)
            for one in miners
            for lease in one.poll(8, wait=1.5)
            if lease["job_id"] not in jobs | checks.keys() and lease["spec"].get("audit") is None
        )
        assert found[1]["cache_salt"] in salts[found[0].miner_id]


def make_due(connection: Any) -> None:
    connection.execute(text("UPDATE canaries SET due_at = 1"))
