"""Adapters that a request may name in addition to its model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from agent.catalogue import CatalogueEntry
from runners.api import ServiceDefinition, Strict
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served


class PictureRequest(Strict):
    model: str
    adapters: tuple[str, ...] = ()


def entry(name: str, service: str, kind: str) -> CatalogueEntry:
    return CatalogueEntry(name, service, ("none",), None, 0, 0, 0, "MIT", "", kind)  # type: ignore[arg-type]  # one of two literals


@pytest.fixture(autouse=True)
def _pictures(served: Served) -> None:
    """Install a service with adapters, and an adapter of another service."""
    context = served.context
    transcription = context.catalogue.services["whisper_transcription"]
    services = cast("dict[str, ServiceDefinition]", context.catalogue.services)
    services["pictures"] = replace(
        transcription,
        service_id="pictures",
        input_model=PictureRequest,
        model_field="model",
        adapters=lambda parameters: parameters["adapters"],
    )
    catalogue = cast("dict[str, CatalogueEntry]", context.catalogue.models)
    for name, service, kind in (
        ("landscapes", "pictures", "model"),
        ("watercolour", "pictures", "adapter"),
        ("pencil", "pictures", "adapter"),
        ("dialect", "whisper_transcription", "adapter"),
    ):
        catalogue[name] = entry(name, service, kind)


def submit(client: httpx.Client, **parameters: Any) -> tuple[int, dict[str, str]]:
    """Submit a job and return the response's status and its validation errors by field."""
    answer = client.post("/v1/jobs", json={"type": "pictures", "parameters": parameters})
    return answer.status_code, answer.json().get("error", {}).get("details", {}).get("fields", {})


def test_adapters_of_the_service_are_accepted(client: httpx.Client) -> None:
    for adapters in ([], ["watercolour"], ["watercolour", "pencil"]):
        assert submit(client, model="landscapes", adapters=adapters)[0] == 201


@pytest.mark.parametrize("name", ["watercolor", "dialect", "landscapes", "tiny.en", "../secret", ""])
def test_a_name_that_is_no_adapter_of_the_service_is_refused(client: httpx.Client, name: str) -> None:
    """This holds for unknown names, adapters of other services, and models; the message lists the existing adapters."""
    status, errors = submit(client, model="landscapes", adapters=["pencil", name])
    assert (status, list(errors)) == (422, ["parameters.adapters"])
    message = errors["parameters.adapters"]
    assert f"there is no adapter {name!r}" in message
    assert "There are: pencil, watercolour" in message
    assert ("Did you mean watercolour?" in message) == (name == "watercolor")


def test_an_adapter_is_not_accepted_as_a_model(client: httpx.Client) -> None:
    status, errors = submit(client, model="watercolour")
    assert (status, list(errors)) == (422, ["parameters.model"])
    assert "There are: landscapes" in errors["parameters.model"]
    details = client.get("/v1/registry/services/pictures").json()
    assert (details["models"], details["adapters"]) == (["landscapes"], ["pencil", "watercolour"])


def test_an_adapter_is_not_accepted_as_a_model_even_if_a_miner_lists_it(
    client: httpx.Client, served: Served
) -> None:
    offered = capabilities()
    offered["services"]["pictures"] = {
        **offered["services"]["whisper_transcription"],
        "models": ["watercolour", "own"],
    }
    ScriptedMiner(served.url).register(capabilities=offered)
    assert submit(client, model="own")[0] == 201
    assert submit(client, model="watercolour")[0] == 422
