"""Which models are asked for and paid: counts for miners that choose what to download."""

from __future__ import annotations

from decimal import Decimal

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served


def test_paid_and_waiting_jobs_are_counted_by_model(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """What the miners earned, without names of clients or jobs."""
    for units in (100, 200):
        submit(client, model="base")
        miner.complete(miner.poll()[0], {"text": "hello", "units": units}).raise_for_status()
    submit(client, model="tiny.en")
    cancelled = submit(client, model="tiny.en")
    client.delete(f"/v1/jobs/{cancelled}").raise_for_status()
    key = {"X-API-Key": miner.registration["api_key"]}
    answer = httpx.get(f"{served.url}/v1/miners/demand", headers=key).raise_for_status().json()
    models = {model.pop("model"): model for model in answer["models"]}
    assert answer["days"] == 7
    assert models["base"] == {
        "service_id": "whisper_transcription", "jobs": 2, "earned": models["base"]["earned"], "waiting": 0,
        "longest_wait": 0.0, "miners": 1,
    }  # fmt: skip
    assert Decimal(models["base"]["earned"]) == Decimal("0.3")
    waiting = models["tiny.en"]
    assert (waiting["jobs"], waiting["earned"], waiting["waiting"], waiting["miners"]) == (0, "0", 1, 1)


def test_only_owners_of_miners_and_administrators_read_it(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> None:
    assert client.get("/v1/miners/demand").status_code == 403
    assert httpx.get(f"{served.url}/v1/miners/demand").status_code == 401
    assert admin.get("/v1/miners/demand").json() == {"days": 7, "models": []}
