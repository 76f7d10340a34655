"""Adapters of models: what a request may name beside its model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from agent.core.machine.catalogue import CatalogueEntry
from runners.api import ServiceDefinition, Strict
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served


class PictureRequest(Strict):
    model: str
    adapters: tuple[str, ...] = ()


def entry(name: str, service: str, kind: str) -> CatalogueEntry:
    return CatalogueEntry(name, service, ("none",), None, 0, 0, 0, "MIT", "", kind)  # type: ignore[arg-type]  # one of two


@pytest.fixture(autouse=True)
def _pictures(served: Served) -> None:
    """A service with adapters, and another one's beside it."""
    context = served.context
    transcription = context.services["whisper_transcription"]
    services = cast("dict[str, ServiceDefinition]", context.services)
    services["pictures"] = replace(
        transcription,
        service_id="pictures",
        input_model=PictureRequest,
        model_field="model",
        adapters=lambda parameters: parameters["adapters"],
    )
    catalogue = cast("dict[str, CatalogueEntry]", context.catalogue)
    for name, service, kind in (
        ("landscapes", "pictures", "model"),
        ("watercolour", "pictures", "adapter"),
        ("pencil", "pictures", "adapter"),
        ("dialect", "whisper_transcription", "adapter"),
    ):
        catalogue[name] = entry(name, service, kind)


def ask(client: httpx.Client, **parameters: Any) -> tuple[int, dict[str, str]]:
    """The answer's status, and its faults by field."""
    answer = client.post("/v1/jobs", json={"type": "pictures", "parameters": parameters})
    return answer.status_code, answer.json().get("error", {}).get("details", {}).get("fields", {})


def test_adapters_of_the_service_are_taken(client: httpx.Client) -> None:
    for adapters in ([], ["watercolour"], ["watercolour", "pencil"]):
        assert ask(client, model="landscapes", adapters=adapters)[0] == 201


@pytest.mark.parametrize("name", ["watercolor", "dialect", "landscapes", "tiny.en", "../secret", ""])
def test_what_is_no_adapter_of_the_service_is_refused(client: httpx.Client, name: str) -> None:
    """Unknown ones, another service's, and models; the answer names those that there are."""
    status, faults = ask(client, model="landscapes", adapters=["pencil", name])
    assert (status, list(faults)) == (422, ["parameters.adapters"])
    said = faults["parameters.adapters"]
    assert f"there is no adapter {name!r}" in said
    assert "There are: pencil, watercolour" in said
    assert ("Did you mean watercolour?" in said) == (name == "watercolor")


def test_an_adapter_is_no_model(client: httpx.Client) -> None:
    status, faults = ask(client, model="watercolour")
    assert (status, list(faults)) == (422, ["parameters.model"])
    assert "There are: landscapes" in faults["parameters.model"]
    details = client.get("/v1/registry/services/pictures").json()
    assert (details["models"], details["adapters"]) == (["landscapes"], ["pencil", "watercolour"])


def test_an_adapter_is_no_model_even_if_a_miner_lists_it_among_its_models(
    client: httpx.Client, served: Served
) -> None:

    offered = capabilities()
    offered["services"]["pictures"] = {
        **offered["services"]["whisper_transcription"],
        "models": ["watercolour", "own"],
    }
    ScriptedMiner(served.url).register(capabilities=offered)
    assert ask(client, model="own")[0] == 201
    assert ask(client, model="watercolour")[0] == 422
