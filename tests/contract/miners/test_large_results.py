"""Results with very many values, which a miner chooses, hold up neither the event loop nor the only transaction that writes."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agent.coordinator.features.audits.rounds import asking
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.miners import completion
from aitbc.canonical import canonical_json, sha256_hex
from support.clients.audit_stage import TRUE, Stage, staged
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit

MANY: dict[str, Any] = {"text": "hello", "words": [[[]]] * 3000, "units": 1.5, "processing_time": 0.5}


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), second_opinion_seconds=3600) as stage:
        yield stage


def test_attack_results_are_returned_as_they_are_stored(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    assert miner.complete(lease, MANY).status_code == 200

    def refuse(_: str) -> None:
        raise AssertionError("the results are decoded")

    monkeypatch.setattr(jobs, "json", SimpleNamespace(loads=refuse))
    answer = client.get(f"/v1/jobs/{job_id}/results")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert found.keys() == {"job_id", "status", "results", "completed_at"}
    assert (found["job_id"], found["status"], found["results"]) == (job_id, "completed", MANY)


def test_attack_nested_results_are_refused_outside_the_event_loop(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(client)
    (lease,) = miner.poll()
    deep: Any = MANY["words"]
    for _ in range(70):
        deep = [deep]
    threads: list[Any] = []
    to_thread = completion.asyncio.to_thread

    async def noted(function: Any, *args: Any) -> Any:
        threads.append(function)
        return await to_thread(function, *args)

    monkeypatch.setattr(completion, "asyncio", SimpleNamespace(to_thread=noted))
    body = miner.result_body(lease, MANY)
    refused = miner.http.post(
        f"/jobs/{lease['job_id']}/result", json={**body, "results": {**MANY, "words": deep}}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert refused.json()["error"]["details"]["fields"] == {
        "results": "it is nested more than 64 levels deep"
    }
    evidence = miner.http.post(
        f"/jobs/{lease['job_id']}/result", json={**body, "evidence": {"x": "y" * 2**20}}
    )
    assert evidence.json()["error"]["details"]["fields"] == {
        "evidence": "evidence may have at most 1048576 bytes"
    }
    assert len(threads) == 2
    assert miner.complete(lease, MANY).status_code == 200, "neither counts as a wrong statement"


def test_attack_audits_insert_the_results_as_they_are_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The specification of each audit job is canonical, without a second encoding of the results in the transaction."""
    encoded: list[Any] = []

    def noted(value: Any) -> bytes:
        encoded.append(value)
        return canonical_json(value)

    monkeypatch.setattr(asking, "canonical_json", noted)
    worker, first, second = stage.miner(), stage.miner(), stage.miner()
    results = {**TRUE, "words": [[[]]] * 100}
    job_id = stage.work(worker, results)
    leases = [stage.answer(first, "fail"), stage.answer(second, "fail")]
    assert len({lease["job_id"] for lease in leases}) == 2
    for lease in leases:
        spec = lease["spec"]
        assert (spec["job_id"], spec["audit"]["results"]) == (lease["job_id"], results)
        assert spec["audit"]["statement"]["predicate"]["job_id"] == job_id
        assert lease["spec_digest"] == sha256_hex(canonical_json(spec))
    assert len(encoded) == 1
    assert isinstance(encoded[0]["audit"]["results"], str)
