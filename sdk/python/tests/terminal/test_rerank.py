"""`aitbc rerank`: the best text comes first, with its score."""

from __future__ import annotations

import json

import pytest

MODEL = {"service_id": "text_reranking", "ready": ["small"], "models": ["small"]}


@pytest.fixture
def reranking(coordinator):
    """A coordinator that scores each text of the newest request by its length."""
    coordinator.registry["/text_reranking"] = MODEL
    service, answer = coordinator._service, coordinator._results
    results_by_job: dict[str, dict] = {}

    async def answered(request):
        response = await service(request)
        documents = coordinator.bodies[-1]["documents"]
        results_by_job[f"job_{len(coordinator.created)}"] = {
            "scores": [len(text) / 1000 for text in documents]
        }
        return response

    async def results(request):
        coordinator.results = results_by_job[request.path_params["job_id"]]
        return await answer(request)

    coordinator._service, coordinator._results = answered, results
    return coordinator


def test_the_best_text_comes_first(quick, reranking, workdir) -> None:
    (workdir / "note.txt").write_text("four\n\nseven77\n")
    done = quick("rerank", "Why?", "one", "fifteen letters", "--input", "note.txt", "--lines", "--top", "3")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"score": 0.015, "text": "fifteen letters"},
        {"score": 0.007, "file": "note.txt", "line": 3, "text": "seven77"},
        {"score": 0.004, "file": "note.txt", "line": 1, "text": "four"},
    ]
    assert reranking.bodies == [
        {"query": "Why?", "model": "small", "documents": ["one", "fifteen letters", "four", "seven77"]}
    ]
    assert quick("rerank", "Why?", stdin="\n").returncode == 2


def test_many_texts_are_several_jobs_in_one_order(quick, reranking) -> None:
    texts = "".join(f"{'x' * (number + 1)}\n" for number in range(1001))
    done = quick("rerank", "Why?", "--document-tokens", "64", "--top", "2", stdin=texts)
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()] == [1.001, 1.0]
    assert sorted(len(body["documents"]) for body in reranking.bodies) == [1, 1000]
    assert {body["document_tokens"] for body in reranking.bodies} == {64}
