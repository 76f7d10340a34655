"""The units that miners report are limited by the time that has passed, and by the request where it determines them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

PRICE = Decimal("0.001")
SECONDS = {
    "type": "ai-inference",
    "model": {
        "type": "python",
        "entrypoint": "model.py",
        "source": {"inline": "def predict(input): ..."},
    },
}
PICTURES = {
    "type": "image_generation",
    "parameters": {"prompt": "a cat", "size": "512x512", "steps": 10, "num_images": 2},
}
FRAMES = {
    "type": "blender_rendering",
    "parameters": {
        "blend_file_url": "https://example.com/a.blend",
        "resolution_x": 1000,
        "resolution_y": 500,
        "samples": 10,
        "frames": "1-4",
    },
}


@pytest.mark.parametrize(
    ("body", "most"),
    [(SECONDS, None), (PICTURES, "5.24288"), (FRAMES, "20")],
    ids=["seconds", "pictures", "frames"],
)
def test_attack_a_result_with_more_units_than_are_possible_is_refused(
    client: httpx.Client, served: Served, miner: ScriptedMiner, body: dict[str, Any], most: str | None
) -> None:
    """The limit of time includes the tolerance for corrections of the coordinator's clock."""
    skew = served.context.settings.max_clock_skew_seconds
    excessive = skew + 60 if most is None else float(most) + 0.000001
    job_id, lease = leased(client, miner, body)
    refused = miner.complete(lease, result(excessive))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "RECEIPT_INVALID")
    assert refused.json()["error"]["details"]["fields"]["units"].startswith(
        f"is {excessive}, must be at most "
    )
    possible = skew if most is None else float(most)
    miner.complete(lease, result(possible)).raise_for_status()
    cost = Decimal(client.get(f"/v1/jobs/{job_id}").json()["cost"])
    assert cost == Decimal(str(possible)) * PRICE


@pytest.mark.parametrize(("body", "most"), [(SECONDS, 60), (PICTURES, 5.24288)], ids=["seconds", "pictures"])
@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_attack_runs_without_a_result_cost_no_more_units_than_are_possible(
    client: httpx.Client, miner: ScriptedMiner, body: dict[str, Any], most: float, end: str
) -> None:
    before = Decimal(client.get("/v1/wallet").json()["balance"])
    job_id, lease = leased(client, miner, body)
    if end == "fail":
        miner.job(
            lease, "fail", kind="fail", code="DEADLINE_EXCEEDED", message="Too long.", units="900"
        ).raise_for_status()
    else:
        reported = {"job_id": job_id, "fence": lease["fence"], "progress": 40, "units": "900"}
        miner.http.post("/heartbeat", json={"leases": [reported], "gpus": []}).raise_for_status()
        client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    paid = before - Decimal(client.get("/v1/wallet").json()["balance"])
    assert paid <= Decimal(str(most)) * PRICE


@pytest.mark.parametrize(
    "changes", [{"size": None}, {"steps": None}, {"image_url": "https://example.com/a.png"}]
)
def test_requests_that_leave_the_units_open_limit_nothing(
    client: httpx.Client, miner: ScriptedMiner, changes: dict[str, Any]
) -> None:
    """The model's own size and steps decide then."""
    body = {**PICTURES, "parameters": {**PICTURES["parameters"], **changes}}
    _, lease = leased(client, miner, body)
    miner.complete(lease, result(900)).raise_for_status()


def leased(client: httpx.Client, miner: ScriptedMiner, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    able = capabilities()
    able["services"]["image_generation"]["models"] = ["stable-diffusion-1.5"]
    miner.register(capabilities=able).raise_for_status()
    answer = client.post("/v1/jobs", json={**body, "pricing": {"max_cost": "1"}})
    assert answer.status_code == 201, answer.text
    (lease,) = miner.poll(1)
    return answer.json()["job_id"], lease


def result(units: float) -> dict[str, Any]:
    return {"units": units, "processing_time": 0.01}
