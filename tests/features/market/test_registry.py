"""The registry of services, which needs no key."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from agent.coordinator.dispatch import fleet
from agent.coordinator.operations import supply
from runners.api import ServiceDefinition, SoldUnit
from runners.registry import installed
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

REGISTRY = "/v1/registry/services"


@pytest.fixture
def registry(served: Served) -> Callable[..., Any]:
    """A function that reads the registry without a key and returns the response's JSON."""

    def read(path: str = "", status: int = 200, **query: str) -> Any:
        answer = httpx.get(f"{served.url}{REGISTRY}{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    return read


RESUMES = {
    "blender_rendering": "frames", "whisper_transcription": "segments", "video_transcoding": "chunks",
}  # fmt: skip
"""The units of work that another miner need not repeat; other services start again."""


def ids(answer: dict[str, Any]) -> list[str]:
    assert answer["total"] == len(answer["services"])
    return [service["service_id"] for service in answer["services"]]


def test_all_installed_services_are_listed(registry: Callable[..., Any]) -> None:
    """The fields are those of the runners' definitions."""
    definitions = installed()
    answer = registry()
    assert ids(answer) == sorted(definitions)
    assert {"ai_inference", "video_transcoding", "whisper_transcription"} <= set(ids(answer))
    for shown in answer["services"]:
        definition = definitions[shown["service_id"]].definition
        assert shown["name"] == definition.name
        assert shown["tags"] == list(definition.tags)
        assert shown["unit"] == definition.unit
        assert_sold(shown["sale_units"], definition)
        assert shown["determinism"] == definition.determinism
        assert shown["resumes"] == RESUMES.get(shown["service_id"])
        assert shown["route"] == (f"/v1/services/{definition.route}" if definition.route else None)
        assert shown["requirements"]["vram"] == definition.requirements.vram


def assert_sold(sale_units: list[dict[str, Any]], definition: ServiceDefinition) -> None:
    """What people buy is declared by each service of this project; others are sold by their metering unit."""
    expected = definition.sale_units or (SoldUnit(definition.unit, f"{definition.unit}s", Decimal(1)),)
    assert definition.sale_units or definition.service_id not in RESUMES
    assert [(unit["name"], unit["detail"], Decimal(unit["units"])) for unit in sale_units] == [
        (unit.name, unit.detail, unit.units) for unit in expected
    ]
    # Smallest first, since the last one is that of prices.
    assert sorted(sale_units, key=lambda unit: Decimal(unit["units"])) == sale_units


def test_the_list_can_be_searched(registry: Callable[..., Any]) -> None:
    """It can be searched by category, and by a text in name, description or tags; case does not matter."""
    services = registry()["services"]
    whisper = next(one for one in services if one["service_id"] == "whisper_transcription")
    same = [one["service_id"] for one in services if one["category"] == whisper["category"]]
    assert ids(registry(category=whisper["category"].upper())) == same
    for text in (whisper["name"].upper(), whisper["description"][5:25], whisper["tags"][-1].title()):
        assert "whisper_transcription" in ids(registry(search=text))
    assert ids(registry(search=whisper["description"])) == ["whisper_transcription"]
    assert ids(registry(search="no service contains this")) == ids(registry(category="none")) == []
    assert ids(registry(category="none", search=whisper["name"])) == []


@pytest.mark.parametrize("service_id", ["whisper_transcription", "whisper-transcription"])
def test_a_services_details_include_models_and_schema(
    registry: Callable[..., Any], served: Served, service_id: str
) -> None:
    details = registry(f"/{service_id}")
    assert details["service_id"] == "whisper_transcription"
    assert {"tiny.en", "base"} <= set(details["models"])
    assert not set(details["models"]) & set(details["adapters"])
    assert details["output_schema"]["properties"].keys() >= {"text", "segments"}
    # The list contains a miner's own models.
    miner = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["whisper_transcription"]["models"] = ["my-own"]
    miner.register(capabilities=offered)
    with_miner = registry(f"/{service_id}")
    assert "my-own" in with_miner["models"]
    # Models that a miner has are ready.
    assert (details["ready"], with_miner["ready"]) == ([], ["my-own"])


def test_the_schema_describes_the_request(registry: Callable[..., Any]) -> None:
    for service_id, runner in installed().items():
        schema = registry(f"/{service_id}/schema")
        assert schema.pop("$schema") == "https://json-schema.org/draft/2020-12/schema"
        assert schema.pop("$id").endswith(f"/v1/registry/services/{service_id}/schema")
        assert schema.pop("x-aitbc-max-file") == 20 * 2**30
        assert schema.pop("x-aitbc-form") == runner.definition.form.as_json()
        assert schema == runner.definition.input_model.model_json_schema()
        assert registry(f"/{service_id.replace('_', '-')}/schema")["properties"] == schema["properties"]
    assert registry("/whisper-transcription/schema")["properties"]["audio_url"]["x-aitbc-file"] is True


def test_the_requirements_include_each_models_memory(registry: Callable[..., Any]) -> None:
    for service_id, runner in installed().items():
        requirements = registry(f"/{service_id}/requirements")
        expected = runner.definition.requirements
        assert (requirements["gpu"], requirements["vram"], requirements["memory"]) == (
            expected.gpu,
            expected.vram,
            expected.memory,
        )
    models = {model["name"]: model for model in registry("/whisper-transcription/requirements")["models"]}
    assert models["tiny.en"] == {
        "name": "tiny.en", "kind": "model", "vram": 2**30, "vram_min": 2**30, "memory": 2**30,
    }  # fmt: skip


@pytest.mark.parametrize("part", ["", "/schema", "/requirements"])
def test_an_unknown_service_is_answered_with_the_known_ones(registry: Callable[..., Any], part: str) -> None:
    error = registry(f"/whisper-transcriptoin{part}", status=404)["error"]
    assert error["code"] == "NOT_FOUND"
    assert "Did you mean whisper_transcription?" in error["message"]
    assert error["details"]["known"] == sorted(installed())


def test_only_available_miners_of_a_service_are_counted(
    registry: Callable[..., Any], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Miners that are paused or offline or do not offer the service do not count."""
    monkeypatch.setattr(supply, "CACHE_SECONDS", 0.0)
    others = capabilities()
    del others["services"]["whisper_transcription"]

    def online() -> dict[str, int]:
        return {one["service_id"]: one["miners_online"] for one in registry()["services"]}

    first, second, third = (ScriptedMiner(served.url) for _ in range(3))
    for miner, offered in ((first, capabilities()), (second, capabilities()), (third, others)):
        miner.register(capabilities=offered)
    assert (online()["whisper_transcription"], online()["video_transcoding"]) == (2, 3)
    first.http.post("/heartbeat", json={"leases": [], "paused": "by hand"})
    assert (online()["whisper_transcription"], online()["video_transcoding"]) == (1, 2)
    monkeypatch.setattr(fleet, "MISSED_HEARTBEATS", 0)
    assert set(online().values()) == {0}
