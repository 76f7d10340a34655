"""Audits that could prove nothing: they are not sold, drawn or made canaries, and the error says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agent.coordinator.features.audits import choosing
from runners.registry import installed
from support.audits.stage import SERVICE, TRUE, Stage, staged
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER

PYTHON: dict[str, Any] = {
    "type": "ai-inference",
    "model": {"type": "python", "entrypoint": "model.py", "source": {"inline": "def predict(input): ..."}},
}
IMAGE = {"type": "image", "image_url": "https://example.com/cat.png"}
QUESTION = {"model": "base", "messages": [{"role": "user", "content": [IMAGE]}]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("requests")) as stage:
        yield stage


def comparing_miner(stage: Stage) -> ScriptedMiner:
    """Return a miner that checks work of all services."""
    services = capabilities()["services"]
    for offer in services.values():
        offer["features"] = {"audits": True}
    return stage.miner(services=services)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (PYTHON, "set `model.deterministic` to true (`aitbc run --deterministic`)"),
        ({"type": SERVICE, "parameters": {**WHISPER, "temperature": 0.5}}, "Request a temperature of 0"),
        ({"type": "llm-inference", "parameters": QUESTION}, "about images"),
        (
            {"type": "llm-inference", "parameters": {"model": "base", "prompt": "Hi", "max_tokens": 7}},
            "`max_tokens`",
        ),
        ({"type": "text-embedding", "parameters": {"model": "base", "input": ["Hi"]}}, "remove `audited`"),
    ],
)
def test_an_audit_that_can_prove_nothing_is_not_sold(stage: Stage, body: dict[str, Any], advice: str) -> None:
    for _ in range(2):
        comparing_miner(stage)
    refused = stage.client.post("/v1/jobs", json={**body, "audited": True})
    assert refused.status_code == 422
    assert advice in refused.json()["error"]["details"]["fields"]["audited"]


def test_an_audit_of_a_model_that_is_declared_deterministic_is_sold(stage: Stage) -> None:
    for _ in range(2):
        comparing_miner(stage)
    body = {**PYTHON, "model": {**PYTHON["model"], "deterministic": True}, "audited": True}
    job = stage.client.post("/v1/jobs", json=body).raise_for_status().json()
    stage.client.delete(f"/v1/jobs/{job['job_id']}").raise_for_status()


def test_a_job_of_which_an_audit_can_prove_nothing_is_not_drawn_and_becomes_no_canary(stage: Stage) -> None:
    worker, _ = stage.miner(), stage.miner()
    job_id = stage.work(worker, TRUE, {"temperature": 0.5})
    assert stage.client.get(f"/v1/jobs/{job_id}/audit").status_code == 404
    refused = stage.admin.post("/v1/admin/canaries", json={"job_id": job_id})
    assert refused.status_code == 409
    assert "temperature" in refused.json()["error"]["message"]


def test_a_request_of_an_earlier_version_that_cannot_be_read_is_not_audited() -> None:
    """Its result is accepted all the same: an error would refuse it."""
    service = "llm_inference"
    context: Any = SimpleNamespace(
        catalogue=SimpleNamespace(services={service: installed()[service].definition})
    )
    record: Any = SimpleNamespace(is_opaque=False, service=service, spec='{"parameters": {"question": "x"}}')
    assert choosing.unprovable(context, record) == choosing.UNPROVEN_OLD
