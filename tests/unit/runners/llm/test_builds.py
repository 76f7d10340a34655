"""The builds of llama.cpp: which card they take, with which arguments, and which schemas one without llguidance enforces."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.engine_server import llama_server
from runners.engine_server.llama_server import ListedDevice, ServerSettings, chosen, vulkan_arguments
from runners.llm.grammar import plain_calls, plain_schema
from support.inputs.language_models import PERSON

GIB = 2**30


def listed(number: int, name: str, bus: str | None) -> ListedDevice:
    return ListedDevice(
        name=f"Vulkan{number}", description=name, bus=bus, type="gpu", free=6 * GIB, total=8 * GIB
    )


TWINS = [listed(0, "RTX", "0000:01:00.0"), listed(1, "RTX", "0000:C1:00.0"), listed(2, "llvmpipe", None)]


def test_a_card_is_found_by_its_address_or_else_by_its_name():
    assert [device["name"] for device in chosen(TWINS, [("NVIDIA RTX", "0000:c1:00.0")])] == ["Vulkan1"]
    assert [device["name"] for device in chosen(TWINS, [("RTX", None), ("RTX", None)])] == [
        "Vulkan0",
        "Vulkan1",
    ]
    assert [device["name"] for device in chosen(TWINS, [("llvmpipe", None)])] == ["Vulkan2"]


@pytest.mark.parametrize("card", [("RTX", "0000:02:00.0"), ("Radeon", None)])
def test_another_card_is_never_taken_instead(card):
    with pytest.raises(LookupError, match=r"llama\.cpp finds no device for"):
        chosen(TWINS, [card])


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        model="model.gguf",
        socket=str(tmp_path / "engine.sock"),
        context=0,
        answers=4,
        threads=2,
        cards=[("RTX", "0000:01:00.0")],
        vram=2 * GIB,
    )


def following(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_the_context_is_shortened_to_the_memory_that_was_planned(settings, monkeypatch):
    """Without a context of its own, and with a limit that leaves the rest of the card's free memory alone."""
    monkeypatch.setattr(llama_server, "vulkan_devices", lambda: TWINS)
    arguments = vulkan_arguments(settings)
    assert "--ctx-size" not in arguments
    assert following(arguments, "--device") == "Vulkan0"
    # A twentieth of the two gibibytes is not planned for.
    assert following(arguments, "--fit-target") == "4199"
    assert following(vulkan_arguments({**settings, "context": 4096}), "--ctx-size") == "4096"


def test_without_a_card_everything_stays_on_the_processor(settings, monkeypatch):
    monkeypatch.setattr(llama_server, "vulkan_devices", lambda: TWINS)
    arguments = vulkan_arguments({**settings, "cards": [], "context": 512, "task": "embedding"})
    assert following(arguments, "--device") == "none"
    assert following(arguments, "--ubatch-size") == "512"
    assert "--no-kv-offload" in arguments
    assert "--embedding" in arguments
    ranking = vulkan_arguments({**settings, "cards": [], "context": 512, "task": "ranking"})
    assert "--reranking" in ranking
    assert following(ranking, "--ubatch-size") == "512"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "^a$"},
        {"type": "number", "minimum": 0},
        {"oneOf": [{"const": 1}, {"const": 2}]},
        {"type": "string", "format": "email"},
        {"type": "integer", "multipleOf": 2},
        {"type": "array", "uniqueItems": True},
    ],
)
def test_a_schema_of_which_a_part_would_be_ignored_is_not_passed_on(part):
    """To a build without llguidance. Another miner enforces it."""
    assert plain_schema({"type": "object", "properties": {"value": part}}) is None
    assert plain_calls({"tool": {"type": "object", "properties": {"value": part}}}) is None


def test_a_plain_schema_is_passed_on_and_its_objects_are_closed():
    schema = plain_schema(PERSON)
    assert schema is not None
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(PERSON["properties"])
    calls = plain_calls({"tool": PERSON})
    assert calls is not None
    (call,) = calls["anyOf"]
    assert call["properties"]["name"] == {"const": "tool"}
    assert call["required"] == ["name", "arguments"]
