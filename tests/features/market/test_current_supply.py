"""What clients can have now: services, models and miners, with prices, units and speeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agent.coordinator.operations import supply
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served


@pytest.fixture
def market(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that reads a path as a client, and returns the response's JSON."""
    monkeypatch.setattr(supply, "CACHE_SECONDS", 0.0)

    def read(path: str, **query: str) -> Any:
        headers = {"Authorization": f"Bearer {served.client_key}"}
        answer = httpx.get(f"{served.url}/v1/{path}", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return read


def offering(price: str, *models: str, **changes: Any) -> dict[str, Any]:
    """Capabilities that offer only whisper_transcription."""
    made = capabilities()
    service = made["services"]["whisper_transcription"]
    made["services"] = {
        "whisper_transcription": {**service, "unit_price": price, "models": list(models), **changes}
    }
    return made


@pytest.fixture
def enrol(served: Served) -> Callable[..., ScriptedMiner]:
    """A function that registers a new miner."""

    def join(**registration: Any) -> ScriptedMiner:
        miner = ScriptedMiner(served.url)
        assert miner.register(**registration).status_code == 200
        return miner

    return join


def whisper(market: Callable[..., Any]) -> dict[str, Any]:
    found = market("marketplace/services")["services"]
    return next(one for one in found if one["service_id"] == "whisper_transcription")


def model(service: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in service["models"] if one["name"] == name)


def test_nothing_is_available_without_miners(market: Callable[..., Any]) -> None:
    """Every service and every model of the catalogue is listed as not available."""
    service = whisper(market)
    assert (service["available"], service["miners"], service["price"], service["unit"]) == (
        False,
        0,
        None,
        None,
    )
    assert model(service, "base")["available"] is False
    assert not any(one["available"] for one in market("models")["data"])


def test_each_model_has_its_lowest_price(
    market: Callable[..., Any], served: Served, enrol: Callable[..., ScriptedMiner]
) -> None:
    """The lowest price counts only miners that have the model and would run it."""
    enrol(
        capabilities=offering("0.002", "tiny.en", "base", score={"metric": "audio second/s", "value": 40.0})
    )
    enrol(capabilities=offering("0.001", "tiny.en", "base", unavailable_models=["base"]))
    service = whisper(market)
    assert (service["available"], service["miners"], service["price"]) == (True, 2, "0.001")
    assert service["speed"] == {"metric": "audio second/s", "best": 40.0, "typical": 40.0}
    assert service["unit"]
    tiny, base = model(service, "tiny.en"), model(service, "base")
    assert (tiny["miners"], tiny["price"]) == (2, "0.001")
    assert (base["miners"], base["price"], base["unit"]) == (1, "0.002", service["unit"])
    listed = {one["id"]: one for one in market("models", all="true")["data"]}
    assert (listed["base"]["available"], listed["base"]["price"], listed["base"]["miners"]) == (
        True,
        "0.002",
        1,
    )
    assert listed["tiny.en"]["unit"] == service["unit"]
    others = [one for one in listed.values() if one["id"] not in {"tiny.en", "base"}]
    assert others
    assert not any(one["available"] for one in others)


def test_miners_are_listed_with_their_services(
    market: Callable[..., Any], served: Served, enrol: Callable[..., ScriptedMiner]
) -> None:
    """A miner is excluded from the list while the operator excludes it, and last while it is paused."""
    first = enrol(name="rig-1", capabilities=offering("0.002", "base"))
    second = enrol(name="rig-2", capabilities=offering("0.001", "tiny.en"))
    found = market("marketplace/miners")
    assert found["total"] == 2
    assert {one["name"] for one in found["miners"]} == {"rig-1", "rig-2"}
    assert {one["miner_id"]: one["services"][0]["models"] for one in found["miners"]} == {
        first.miner_id: ["base"],
        second.miner_id: ["tiny.en"],
    }
    assert market("marketplace/miners", service="llm-inference") == {"miners": [], "total": 0}
    second.http.post("/heartbeat", json={"paused": "the owner plays"}).raise_for_status()
    found = market("marketplace/miners", service="whisper-transcription")["miners"]
    assert [(one["name"], one["available"]) for one in found] == [("rig-1", True), ("rig-2", False)]
    assert whisper(market)["miners"] == 1
    admin = {"Authorization": f"Bearer {served.admin_key}"}
    httpx.post(
        f"{served.url}/v1/admin/miners/{first.miner_id}/exclude", json={"reason": "a test"}, headers=admin
    ).raise_for_status()
    assert [one["name"] for one in market("marketplace/miners")["miners"]] == ["rig-2"]
