"""Results with very many values, which a miner chooses, hold up neither the event loop nor the only transaction that writes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.operations.miners import completion
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit

MANY: dict[str, Any] = {"text": "hello", "words": [[[]]] * 3000, "units": 1.5, "processing_time": 0.5}


def test_attack_results_are_returned_as_they_are_stored(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    assert miner.complete(lease, MANY).status_code == 200

    def refuse(_: str) -> None:
        raise AssertionError("the results are decoded")

    monkeypatch.setattr(own_jobs, "json", SimpleNamespace(loads=refuse))
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
