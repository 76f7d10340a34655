"""Why a miner does not get the jobs that wait, for its owner."""

from __future__ import annotations

from typing import Any

import httpx

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served


def explained(served: Served, miner: ScriptedMiner, key: str) -> Any:
    return httpx.get(
        f"{served.url}/v1/miners/{miner.miner_id}/explain", headers={"X-API-Key": key}
    ).raise_for_status()


def test_each_kind_of_waiting_job_has_its_reasons_and_what_would_change_them(
    client: httpx.Client, served: Served
) -> None:
    miner, other = ScriptedMiner(served.url), ScriptedMiner(served.url)
    able = capabilities()
    able["services"]["whisper_transcription"]["models"] = ["base"]
    del able["services"]["blender_rendering"]
    able["unavailable"] = {"blender_rendering": ["Blender was not found; install it."]}
    key = miner.register(capabilities=able).json()["api_key"]
    other.register()
    assert explained(served, miner, key).json()["summary"] == "No job waits for a miner."

    submit(client, model="tiny.en")
    for cost in ("0.0001", "0.0005"):
        submit(client, wait=True, pricing={"max_cost": cost})
    client.post("/v1/services/blender/render", json={"blend_file_url": "https://example.com/a.blend"})
    submit(client, miner_id=other.miner_id)
    found = explained(served, miner, key).json()
    kinds = {
        (kind["service_id"], kind["model"], kind["reasons"][0]["code"]): (kind["jobs"], kind["reasons"][0])
        for kind in found["kinds"]
    }
    assert found["waiting_jobs"] == 5
    assert found["summary"] == "This machine can run none of 5 waiting jobs now."
    count, price = kinds["whisper_transcription", "base", "PRICE_ABOVE_MAX_COST"]
    assert (count, price["action"]) == (
        2,
        "Lower miner.prices.whisper_transcription to at most 0.0005 (credits per audio second), and restart the agent.",
    )
    _, model = kinds["whisper_transcription", "tiny.en", "MODEL_MISSING"]
    assert model["action"] == "Run `aitbc-agent models pull tiny.en`."
    _, service = kinds["blender_rendering", None, "SERVICE_NOT_OFFERED"]
    assert "Blender was not found" in service["action"]
    _, named = kinds["whisper_transcription", "base", "NOT_CHOSEN"]
    assert (named["details"], other.miner_id in str(named)) == ({}, False)


def test_an_owner_sees_only_the_own_miner(served: Served) -> None:
    miner, other = ScriptedMiner(served.url), ScriptedMiner(served.url)
    miner.register()
    key = other.register().json()["api_key"]
    path = f"{served.url}/v1/miners/{miner.miner_id}/explain"
    assert httpx.get(path, headers={"X-API-Key": key}).status_code == 404
    assert httpx.get(path, headers={"X-API-Key": served.client_key}).status_code == 403
    assert httpx.get(path, headers={"X-API-Key": served.admin_key}).status_code == 200
