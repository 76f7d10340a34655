"""Ollama's paths about models, what clients cannot do to them, and errors in its form."""

from __future__ import annotations

import httpx
import pytest

from support.clients.openai_jobs import EMBEDDING, LLM, PICTURES, QUESTION
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [model["model"] for model in answer.json()["models"]]


def test_models_that_can_be_used_are_listed(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    """Not those for pictures, for which Ollama has no path; nor the many that nobody has."""
    answer = ollama.get("/api/tags")
    listed = names(answer)
    assert sorted(listed) == sorted([f"{LLM}:latest", f"{EMBEDDING}:latest"])
    model = answer.json()["models"][listed.index(f"{LLM}:latest")]
    assert model["details"]["parameter_size"] == "135M"
    assert model["details"]["format"] == "gguf"
    assert len(bytes.fromhex(model["digest"])) == 32
    assert ollama.get("/api/version").json()["version"]


def test_only_loaded_models_run(served: Served, ollama: httpx.Client, miner: ScriptedMiner) -> None:
    assert names(ollama.get("/api/ps")) == []
    offered = capabilities()
    offered["services"]["llm_inference"] |= {"models": [LLM], "loaded": [LLM]}
    other = ScriptedMiner(served.url)
    assert other.register(capabilities=offered).status_code == 200
    served.context.caches.supply = None
    answer = ollama.get("/api/ps")
    assert names(answer) == [f"{LLM}:latest"]
    (model,) = answer.json()["models"]
    assert model["size_vram"] == model["size"] > 0


def test_a_model_is_shown(ollama: httpx.Client, miner: ScriptedMiner) -> None:
    shown = ollama.post("/api/show", json={"model": f"{LLM}:latest"}).json()
    assert (shown["license"], shown["capabilities"]) == ("Apache-2.0", ["completion", "tools"])
    assert shown["model_info"] == {
        "general.basename": LLM,
        "general.architecture": "unknown",
        "unknown.context_length": 4096,
    }
    assert ollama.post("/api/show", json={"name": EMBEDDING}).json()["capabilities"] == ["embedding"]
    for unknown in ("llama3.2:1b", PICTURES):
        answer = ollama.post("/api/show", json={"model": unknown})
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])


def test_a_pull_succeeds_where_a_request_would_and_downloads_nothing(
    served: Served, ollama: httpx.Client, miner: ScriptedMiner
) -> None:
    assert ollama.post("/api/pull", json={"model": LLM, "stream": False}).json() == {"status": "success"}
    steps = ollama.post("/api/pull", json={"model": LLM}).text.splitlines()
    assert steps[-1] == '{"status":"success"}'
    missing = ollama.post("/api/pull", json={"model": "qwen3-8b"})
    assert missing.status_code == 404
    assert "aitbc-agent models pull qwen3-8b" in missing.json()["error"]
    offered = capabilities()
    offered["services"]["llm_inference"] |= {"models": [LLM], "downloadable": True}
    assert ScriptedMiner(served.url).register(capabilities=offered).status_code == 200
    served.context.caches.supply = None
    steps = ollama.post("/api/pull", json={"model": "qwen3-8b"}).text.splitlines()
    assert "first request" in steps[1]
    assert steps[-1] == '{"status":"success"}'
    assert ollama.get("/v1/jobs").json()["total"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "delete"),
        ("POST", "create"),
        ("POST", "copy"),
        ("POST", "push"),
        ("POST", f"blobs/sha256:{'0' * 64}"),
    ],
)
def test_clients_cannot_change_models(ollama: httpx.Client, method: str, path: str) -> None:
    answer = ollama.request(method, f"/api/{path}", json={"model": LLM})
    assert answer.status_code == 403
    assert "owners of the miners" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "smollm"}, 404, "Did you mean"),
        ({"options": {"temprature": 1}}, 400, "temperature"),
        ({"options": {"mirostat": 3}}, 400, "options.mirostat"),
        ({"options": {"temperature": 3}}, 400, "options.temperature"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, 400, "role"),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, 400, "tools"),
        ({"format": "json", "options": {"stop": ["x"]}}, 400, "omit it with format"),
    ],
)
def test_errors_are_one_sentence_in_ollamas_form(
    ollama: httpx.Client, miner: ScriptedMiner, body: object, status: int, text: str
) -> None:
    answer = ollama.post("/api/chat", json={"model": LLM, "messages": QUESTION, **body})  # type: ignore[dict-item] # a dict
    assert (answer.status_code, [*answer.json()]) == (status, ["error"])
    assert answer.json()["error"].count(text) == 1


@pytest.mark.parametrize("field", ["template", "context"])
def test_what_a_prompt_cannot_have_is_refused(ollama: httpx.Client, miner: ScriptedMiner, field: str) -> None:
    value = [1, 2] if field == "context" else "{{ .Prompt }}"
    answer = ollama.post("/api/generate", json={"model": LLM, "prompt": "Hi", field: value})
    assert answer.status_code == 400
    assert field in answer.json()["error"]


def test_the_api_below_v1_has_its_own_errors(ollama: httpx.Client) -> None:
    """It answers below `/api` as well, where Ollama's paths are."""
    for path in ("/api/v1/jobs/job_none", "/api/nothing"):
        assert ollama.get(path).json()["error"]["code"] in {"JOB_NOT_FOUND", "NOT_FOUND"}
