"""`aitbc embed`: texts from arguments, stdin and files become lines of JSON, in order."""

from __future__ import annotations

import json

import pytest

MODEL = {"service_id": "text_embedding", "ready": ["small"], "models": ["small"]}


@pytest.fixture
def embedding(coordinator):
    """A coordinator whose results have a vector for each text of the newest request: its length."""
    coordinator.registry["/text_embedding"] = MODEL
    service = coordinator._service

    async def answered(request):
        response = await service(request)
        texts = coordinator.bodies[-1]["input"]
        results_by_job[f"job_{len(coordinator.created)}"] = {
            "embeddings": [[float(len(text)), 0.5] for text in texts]
        }
        return response

    results_by_job: dict[str, dict] = {}
    answer = coordinator._results

    async def results(request):
        coordinator.results = results_by_job[request.path_params["job_id"]]
        return await answer(request)

    coordinator._service, coordinator._results = answered, results
    return coordinator


def _lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_texts_and_lines_of_stdin_become_json_lines(quick, embedding) -> None:
    done = quick("embed", "one", "three", "-", stdin="a line\n\nß\n")
    assert _lines(done.stdout) == [
        {"text": "one", "embedding": [3.0, 0.5]},
        {"text": "three", "embedding": [5.0, 0.5]},
        {"text": "a line", "embedding": [6.0, 0.5]},
        {"text": "ß", "embedding": [1.0, 0.5]},
    ]
    assert embedding.bodies[0]["model"] == "small"
    assert quick("embed", stdin=" \n").returncode == 2
    assert len(embedding.bodies) == 1


def test_files_are_texts_or_lists_of_lines(quick, embedding, workdir) -> None:
    (workdir / "notes").mkdir()
    (workdir / "notes" / "a.txt").write_text("first\nsecond\n")
    (workdir / "notes" / "picture.png").write_bytes(b"\xff")
    assert _lines(quick("embed", "--input", "notes").stdout) == [
        {"file": "notes/a.txt", "embedding": [13.0, 0.5]}
    ]
    assert [line["line"] for line in _lines(quick("embed", "-i", "notes", "--lines").stdout)] == [1, 2]
    assert "not a text file in UTF-8" in quick("embed", "-i", "notes/picture.png").stderr


def test_many_texts_are_several_jobs_in_order(quick, embedding, workdir) -> None:
    """The same command again creates no further job, and a file of somebody else stays."""
    texts = "".join(f"{'x' * (number % 7 + 1)}\n" for number in range(1100))
    arguments = ("embed", "--output", "vectors.jsonl", "--model", "m")
    assert quick(*arguments, stdin=texts).returncode == 0
    vectors = _lines((workdir / "vectors.jsonl").read_text())
    assert [vector["embedding"][0] for vector in vectors] == [number % 7 + 1 for number in range(1100)]
    assert sorted(len(body["input"]) for body in embedding.bodies) == [76, 512, 512]
    assert quick(*arguments, stdin=texts).returncode == 0
    assert len(embedding.bodies) == 3
    (workdir / "vectors.jsonl").write_text("mine")
    refused = quick(*arguments, stdin="other\n")
    assert (refused.returncode, len(embedding.bodies)) == (2, 3)
    assert (workdir / "vectors.jsonl").read_text() == "mine"
