"""Reasons for waiting: each is named by the API and the command line, and jobs that can never run are refused."""

from __future__ import annotations

from typing import Any

import httpx

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER, submit

SERVICE = "whisper_transcription"


def offering(**changes: Any) -> dict[str, Any]:
    """Capabilities whose whisper service has these changes."""
    able = capabilities()
    able["services"][SERVICE] |= changes
    return able


def explained(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_job_that_no_known_miner_can_run_is_refused(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {**WHISPER, "pricing": {"max_cost": "0.0000001"}}
    answer = client.post("/v1/services/whisper/transcribe", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "CANNOT_RUN")
    (reason,) = answer.json()["error"]["details"]["reasons"]
    assert reason["code"] == "PRICE_ABOVE_MAX_COST"
    assert reason["details"]["missing"] == "0.0009999"
    found = explained(client, submit(client, **body, wait=True))
    assert (found["can_run"], found["reasons"]) == ("never", [reason])
    assert found["miners"][0]["miner_id"] == miner.miner_id
