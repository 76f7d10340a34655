"""`POST /v1/registry/services/validate`: all validation errors of a request at once, and warnings."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from jsonschema_rs import Draft202012Validator
from pydantic import ValidationError

from agent.coordinator.operations import supply
from agent.coordinator.operations.jobs import estimates
from runners import registry
from runners.near_names import MAX_COMPARISONS
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.recent import fold_everything
from support.server import Served

PATH = "/v1/registry/services/validate"
LLM = {"model": "llama-7b", "prompt": "Hello world", "max_tokens": 256}

GOOD: dict[str, list[dict[str, Any]]] = {
    "whisper_transcription": [
        {"audio_url": "https://example.com/audio.mp3", "model": "base", "language": "en", "task": "transcribe"},
        {"audio_url": f"artifact:sha256:{'0' * 64}", "output_formats": ["srt", "vtt"], "temperature": 0.2},
    ],
    "image_generation": [
        {"prompt": "A sunset", "model": "stable-diffusion-1.5", "size": "1024x1024", "num_images": 1, "steps": 20},
        {"prompt": "A sunset", "model": "sdxl", "seed": 7},
    ],
    "llm_inference": [
        LLM,
        {"model": "llama-7b", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "stop": ["\n"]},
    ],
    "text_embedding": [
        {"model": "all-minilm-l6-v2", "input": ["Hi", "Bye"]},
        {"model": "all-minilm-l6-v2", "input": ["Hi"], "dimensions": 64},
    ],
    "speech_synthesis": [
        {"model": "piper-en-us-joe", "input": "Hi"},
        {"model": "kokoro-82m", "input": "Hi", "voice": "af_heart", "output_format": "opus", "speed": 1.5, "language": "en-gb"},
    ],
    "text_reranking": [
        {"model": "bge-reranker-v2-m3", "query": "Hi", "documents": ["Hello", "Bye"]},
        {"model": "bge-reranker-v2-m3", "query": "Hi", "documents": ["Hello"], "document_tokens": 64},
    ],
    "video_transcoding": [
        {"input_url": "https://example.com/v.mp4", "output_format": "mp4", "codec": "h264", "resolution": "1920x1080"},
        {"input_url": "https://example.com/v.mp4", "output_format": "gif", "fps": 12.5},
    ],
    "blender_rendering": [
        {"blend_file_url": "https://example.com/s.blend", "engine": "cycles", "resolution_x": 1920, "samples": 128},
        {"blend_file_url": "https://example.com/s.blend", "frames": "1-48", "video": True},
        {"blend_file_url": "https://example.com/s.blend", "frames": [1, 2, 9]},
    ],
    "ai_inference": [
        {"model": {"type": "python", "entrypoint": "model.py", "requirements": ["numpy", "torch"]}},
        {
            "model": {"entrypoint": "model.py", "source": {"inline": "def predict(i): ..."}},
            "input": {"type": "image", "format": "jpeg", "source": "https://example.com/cat.jpeg"},
            "output": {"type": "json"},
            "parameters": {"threshold": 0.5},
        },
    ],
}  # fmt: skip

BAD: dict[str, list[dict[str, Any]]] = {
    "whisper_transcription": [
        {},
        {"audio_url": 5},
        {"audio_url": "https://a.b/c", "task": "sing"},
        {"audio_url": "https://a.b/c", "temperature": "0.2"},
        {"audio_url": "https://a.b/c", "temperature": 2},
        {"audio_url": "https://a.b/c", "word_timestamps": "yes"},
        {"audio_url": "https://a.b/c", "volume": 11},
    ],
    "image_generation": [
        {},
        {"prompt": "A sunset", "num_images": "1"},
        {"prompt": "A sunset", "num_images": 0},
        {"prompt": "A sunset", "steps": True},
        {"prompt": None},
    ],
    "llm_inference": [
        {"model": "llama-7b", "prompt": ["Hi"]},
        {"model": "llama-7b", "messages": [{"role": "wizard", "content": "Hi"}]},
        {"prompt": "Hi"},
        {**LLM, "max_tokens": 0},
        {**LLM, "max_tokens": 2.5},
    ],
    "text_embedding": [
        {"model": "all-minilm-l6-v2", "input": "Hi"},
        {"model": "all-minilm-l6-v2", "input": []},
        {"input": ["Hi"]},
    ],
    "speech_synthesis": [
        {"input": "Hi"},
        {"model": "kokoro-82m", "input": ""},
        {"model": "kokoro-82m", "input": "Hi", "speed": 8},
        {"model": "kokoro-82m", "input": "Hi", "output_format": "exe"},
    ],
    "text_reranking": [
        {"model": "bge-reranker-v2-m3", "query": "Hi", "documents": "Hello"},
        {"model": "bge-reranker-v2-m3", "query": "Hi", "documents": []},
        {"model": "bge-reranker-v2-m3", "documents": ["Hello"]},
    ],
    "video_transcoding": [
        {"output_format": "mp4"},
        {"input_url": "https://a.b/c", "output_format": "exe"},
        {"input_url": "https://a.b/c", "fps": "25"},
        {"input_url": "https://a.b/c", "resolution": 1080},
    ],
    "blender_rendering": [
        {},
        {"blend_file_url": "https://a.b/c", "samples": "128"},
        {"blend_file_url": "https://a.b/c", "resolution_x": 1},
        {"blend_file_url": "https://a.b/c", "engine": "workbench"},
        {"blend_file_url": "https://a.b/c", "frames": {"first": 1}},
    ],
    "ai_inference": [
        {},
        {"model": {"entrypoint": "../model.py"}},
        {"model": {"entrypoint": "model.py", "requirements": "numpy"}},
        {"model": {"entrypoint": "model.py"}, "output": {"type": "xml"}},
        {"model": {"entrypoint": "model.py"}, "parameters": [1]},
    ],
}


@pytest.fixture
def validate(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that validates a request without a key and returns the response's JSON."""
    monkeypatch.setattr(supply, "CACHE_SECONDS", 0.0)

    def call(service_id: str, data: Any, status: int = 200) -> Any:
        answer = httpx.post(f"{served.url}{PATH}", json={"service_id": service_id, "request_data": data})
        assert answer.status_code == status, answer.text
        return answer.json()

    return call


def offer(served: Served, service_id: str = "llm_inference", **changes: Any) -> ScriptedMiner:
    """Register an online miner that offers a service with these capabilities."""
    offered = capabilities()
    offered["services"] = {service_id: {**offered["services"][service_id], **changes}}
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offered)
    return miner


def fields(errors: list[dict[str, str]]) -> dict[str, str]:
    return {error["field"]: error["message"] for error in errors}


@pytest.mark.parametrize("service_id", ["llm_inference", "llm-inference"])
def test_the_request_of_the_reference_is_valid(
    validate: Callable[..., Any], served: Served, service_id: str
) -> None:
    """There is no warning if a miner has the model."""
    offer(served, models=["llama-7b"])
    assert validate(service_id, LLM) == {"valid": True, "errors": [], "warnings": []}


def test_reports_every_validation_error_at_once(validate: Callable[..., Any], served: Served) -> None:
    """The request has invalid fields and options, an unknown model and a refused address."""
    offer(served, "whisper_transcription")
    data = {
        "audio_url": "https://localhost/a.mp3",
        "model": "tiny.em",
        "temperature": 7,
        "priority": 10,
        "timeout_seconds": 10**7,
        "pricing": {"max_cost": 1},
    }
    answer = validate("whisper_transcription", data)
    assert answer["valid"] is False
    found = fields(answer["errors"])
    assert found.keys() == {"audio_url", "model", "temperature", "priority", "pricing.max_cost"}
    assert "Did you mean tiny.en?" in found["model"]
    assert fields(answer["warnings"]) == {"model": "did you mean tiny.en?"}
    assert "timeout_seconds" in fields(
        validate("whisper_transcription", {"audio_url": "https://a.b/c", "timeout_seconds": 10**7})["errors"]
    )


def test_an_error_in_a_nested_field_has_its_path(validate: Callable[..., Any]) -> None:
    data = {"model": {"entrypoint": "model.py", "source": "http://a.b/c"}, "input": {"format": "?"}}
    found = fields(validate("ai_inference", data)["errors"])
    assert found.keys() == {"model.source", "input.format"}
    assert fields(validate("ai_inference", {"model": "resnet"})["errors"]).keys() == {"model"}


def test_attack_a_miner_with_a_thousand_models_hides_no_model_of_the_catalogue(
    validate: Callable[..., Any], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of the same letters are slow to compare, so few are, and those of the catalogue first."""
    compared: list[tuple[int, int]] = []
    search = difflib.get_close_matches

    def counted(name: str, known: list[str], **options: Any) -> list[str]:
        compared.extend((len(name), len(one)) for one in known)
        return search(name, known, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    offer(served, models=[f"{'abcdefghij' * 9}{number:010}" for number in range(1000)])
    for wrong in ("smollm2-135m-instuct", "0123456789" + "abcdefghij" * 9):
        compared.clear()
        answer = validate("llm_inference", {"model": wrong, "prompt": "Hi"})
        assert answer["valid"] is False
        assert ("Did you mean smollm2-135m-instruct?" in str(answer["errors"])) is wrong.startswith("smol")
        searches = 2  # one for the error, one for the warning
        assert sum(one * other for one, other in compared) <= searches * MAX_COMPARISONS


def test_an_unknown_adapter_gets_a_suggestion(validate: Callable[..., Any]) -> None:
    data = {"prompt": "A sunset", "model": "sdxl", "loras": [{"name": "lcm-lora-sdx"}]}
    (error,) = validate("image_generation", data)["errors"]
    assert "Did you mean lcm-lora-sdxl?" in error["message"]


def test_validation_agrees_with_real_requests(validate: Callable[..., Any], client: httpx.Client) -> None:
    """Every good and bad example of every service call gets the same verdict and the same fields."""
    routes = {
        one["service_id"]: one["route"] for one in client.get("/v1/registry/services").json()["services"]
    }
    for service_id, route in routes.items():
        if route is None:
            continue
        for data in (*GOOD[service_id], *BAD[service_id]):
            verdict = validate(service_id, data)
            answer = client.post(route, json=data)
            if answer.status_code == 201:
                assert verdict["errors"] == [], data
                continue
            real = answer.json()["error"]["details"]["fields"]
            missing_artifact = set(real) - set(fields(verdict["errors"]))
            assert fields(verdict["errors"]) == real or missing_artifact == {"audio_url"}, data


@pytest.mark.parametrize("service_id", sorted(GOOD))
def test_the_published_schema_agrees_with_the_model(served: Served, service_id: str) -> None:
    """Both accept every good example and refuse every bad one."""
    assert GOOD.keys() == BAD.keys() == registry.installed().keys()
    schema = httpx.get(f"{served.url}/v1/registry/services/{service_id}/schema").json()
    validator = Draft202012Validator(schema)
    model = registry.installed()[service_id].definition.input_model
    for data in GOOD[service_id]:
        validator.validate(data)
        model.model_validate_json(json.dumps(data), strict=True)  # as requests are validated
    for data in BAD[service_id]:
        assert not validator.is_valid(data), data
        with pytest.raises(ValidationError):
            model.model_validate_json(json.dumps(data), strict=True)


def test_an_unknown_service_is_not_found(validate: Callable[..., Any]) -> None:
    error = validate("llm_inferense", LLM, status=404)["error"]
    assert error["code"] == "NOT_FOUND"
    assert "Did you mean llm_inference?" in error["message"]


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_request_data_that_is_no_object_is_refused(validate: Callable[..., Any], data: Any) -> None:
    assert "request_data" in validate("llm_inference", data, status=422)["error"]["details"]["fields"]


def test_a_service_without_an_online_miner_gets_a_warning(
    validate: Callable[..., Any], served: Served
) -> None:
    answer = validate("llm_inference", LLM)
    assert answer["valid"] is True
    assert fields(answer["warnings"]).keys() == {"service_id"}
    offer(served, models=["llama-7b"]).http.post("/heartbeat", json={"leases": [], "paused": "by hand"})
    assert fields(validate("llm_inference", LLM)["warnings"]).keys() == {"service_id"}


def test_a_model_that_no_miner_has_gets_a_warning(validate: Callable[..., Any], served: Served) -> None:
    """The job would wait unless a miner can download the model; an unavailable model counts as missing."""
    offer(served, models=["qwen3-8b"])
    assert "would wait" in fields(validate("llm_inference", LLM)["warnings"])["model"]
    miner = offer(served, models=["llama-7b"], unavailable_models=["llama-7b"])
    assert "would wait" in fields(validate("llm_inference", LLM)["warnings"])["model"]
    miner.http.close()
    offer(served, models=[], downloadable=True)
    assert "would fetch it first" in fields(validate("llm_inference", LLM)["warnings"])["model"]


def test_a_max_cost_below_every_price_gets_a_warning(validate: Callable[..., Any], served: Served) -> None:
    offer(served, models=["llama-7b"], unit_price="0.02")
    offer(served, models=["llama-7b"], unit_price="0.01")
    low = {**LLM, "pricing": {"max_cost": "0.009"}}
    warnings = fields(validate("llm_inference", low)["warnings"])
    assert warnings.keys() == {"pricing.max_cost"}
    assert "at least 0.01" in warnings["pricing.max_cost"]
    assert validate("llm_inference", {**LLM, "pricing": {"max_cost": "0.01"}})["warnings"] == []


def test_the_definition_shows_price_and_speed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the lowest and median price and the best and median score of online miners, or null without any."""
    monkeypatch.setattr(supply, "CACHE_SECONDS", 0.0)

    def shown() -> dict[str, Any]:
        return httpx.get(f"{served.url}/v1/registry/services/llm_inference").json()

    assert (shown()["price"], shown()["speed"], shown()["durations"]) == (None, None, [])
    for price, value in (("0.03", 50.0), ("0.01", 10.0), ("0.02", 30.0)):
        offer(served, unit_price=price, score={"metric": "token/s", "value": value})
    assert shown()["price"] == {"lowest": "0.01", "typical": "0.02"}
    assert shown()["speed"] == {"metric": "token/s", "best": 50.0, "typical": 30.0}


def test_the_definition_shows_run_durations(
    served: Served, client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are measured on completed jobs, per model."""
    monkeypatch.setattr(estimates, "REFRESH_SECONDS", 0.0)
    client.post("/v1/services/whisper/transcribe", json=GOOD["whisper_transcription"][0])
    (lease,) = miner.poll()
    miner.complete(
        lease, {"text": "", "language": "en", "duration": 1, "segments": [], "files": [], "units": 1}
    )
    served.do(fold_everything)
    (duration,) = client.get("/v1/registry/services/whisper-transcription").json()["durations"]
    assert duration["model"] == "base"
    assert duration["seconds"] >= 0
