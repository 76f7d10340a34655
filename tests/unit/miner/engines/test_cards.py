"""Which variant of an engine suits which cards, driver and machine, and what owners read where none does."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import ConfigurationError
from agent.miner.engines.cards import card_for, choose, environment_obstacle, obstacle
from agent.miner.engines.catalogue import load_engines, parse_engines
from agent.miner.engines.environments import EngineEnvironment, EngineRecord
from agent.miner.machine.gpus import Gpu

ADA = Gpu("GPU-1", 0, "RTX 4090", 24 * 2**30, 23 * 2**30, "8.9", "580.65.06", None, None, None)
PASCAL = replace(ADA, uuid="GPU-2", index=1, name="GTX 1080", compute_capability="6.1")
HOPPER = replace(ADA, uuid="GPU-3", index=2, name="H100", compute_capability="9.0")
SPARK = replace(ADA, uuid="GPU-4", index=3, name="GB10", compute_capability="12.1")
RUBIN = replace(ADA, uuid="GPU-5", index=4, name="VR200", compute_capability="13.0")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("name", "card", "driver", "words"),
    [
        ("vllm", ADA, "580.65.06", None),
        ("vllm", ADA, "580.64", "update the driver to 580.65 or newer"),
        ("vllm", ADA, "575.64.03", "The NVIDIA driver 575.64.03 is too old for vllm"),
        ("vllm", PASCAL, "580.65.06", "compute capability 6.1) is too old for vllm, which needs 7.5"),
        # A newer driver would not help such a card.
        ("vllm", PASCAL, "470.1", "another card"),
        ("vllm", SPARK, "580.65.06", None),
        ("vllm", RUBIN, "700.1", "Install a newer agent"),
        ("vllm", replace(ADA, compute_capability=None), "580.65.06", None),
        ("diffusers", ADA, "570.86.15", "update the driver to 580.65 or newer"),
        ("faster-whisper", PASCAL, "525.60.13", None),
        ("faster-whisper", PASCAL, "525.59", "update the driver to 525.60 or newer"),
        # Its code for newer cards is compiled by drivers from 570 on.
        ("faster-whisper", HOPPER, "565.57.01", "update the driver to 570 or newer"),
        ("faster-whisper", HOPPER, "570.86.15", None),
        ("onnx-asr", HOPPER, "525.60.13", None),
        ("onnx-asr", SPARK, "565.57.01", "update the driver to 570 or newer"),
    ],
)
def test_what_a_wheel_contains_is_compared_with_card_and_driver(
    name: str, card: Gpu, driver: str, words: str | None
) -> None:
    variant = load_engines()[name].variants["cuda"]
    found = obstacle(name, variant, replace(card, driver=driver))
    assert (found is None) == (words is None)
    assert words is None or (found is not None and words in found.reason)


def test_a_driver_that_is_too_old_refuses_an_installation_and_a_card_takes_the_processors_packages() -> None:
    """The owner can mend one of them, and not the other. One card that suits is enough."""
    vllm = load_engines()["vllm"]
    assert choose(vllm, [ADA]).variant.name == "cuda"
    assert choose(vllm, []).variant.name == "cpu"
    assert choose(vllm, [PASCAL, ADA]).obstacle is None
    old = choose(vllm, [replace(ADA, driver="570.86.15")])
    assert (old.refused, "--variant cpu" in (old.obstacle or "")) == (True, True)
    pascal = choose(vllm, [PASCAL])
    assert (pascal.variant.name, pascal.refused) == ("cpu", False)
    assert "It computes on the processor." in (pascal.obstacle or "")


def test_the_owners_choice_wins() -> None:
    vllm = load_engines()["vllm"]
    forced = choose(vllm, [PASCAL], "cuda")
    assert (forced.variant.name, forced.refused, forced.forced) == ("cuda", False, True)
    assert not choose(vllm, [ADA], "cuda").forced
    assert not choose(vllm, [], "cuda").forced, "an image is built without a card"
    assert choose(vllm, [ADA], "cpu").variant.name == "cpu"


def test_a_machine_for_which_nothing_is_built_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    engines = load_engines()
    assert choose(engines["vllm"], [HOPPER]).variant.name == "cuda"
    speech = choose(engines["faster-whisper"], [HOPPER])
    assert (speech.variant.name, speech.refused) == ("cpu", False)
    assert "no packages for cards on aarch64" in (speech.obstacle or "")
    blender = choose(engines["bpy"], [HOPPER])
    assert (blender.refused, "bpy does not exist for aarch64" in (blender.obstacle or "")) == (True, True)
    assert choose(engines["bpy"], [], "cuda").refused


def installed(name: str, variant: Any, *, forced: bool = False) -> EngineEnvironment:
    return EngineEnvironment(Path(), EngineRecord(name, variant, "digest", "3.11", 1, (), 0, forced))


def test_an_installed_engine_is_compared_with_the_cards_as_they_are_now() -> None:
    vllm = load_engines()["vllm"]
    assert environment_obstacle(vllm, installed("vllm", "cuda"), ADA) is None
    assert environment_obstacle(vllm, installed("vllm", "cuda"), PASCAL) is not None
    assert environment_obstacle(vllm, installed("vllm", "cuda", forced=True), PASCAL) is None
    for_processor = environment_obstacle(vllm, installed("vllm", "cpu"), ADA)
    assert for_processor is not None
    assert "For the card: aitbc-agent engines install vllm" in for_processor.reason


def test_a_check_uses_a_card_that_suits() -> None:
    engines = load_engines()
    cuda, cpu = engines["vllm"].variants["cuda"], engines["vllm"].variants["cpu"]
    assert card_for("vllm", cuda, [PASCAL, ADA]) is ADA
    assert card_for("vllm", cuda, [PASCAL]) is PASCAL, "the owner wanted it"
    assert card_for("vllm", cuda, []) is None
    assert card_for("vllm", cpu, [ADA]) is None
    assert card_for("llama.cpp", engines["llama.cpp"].variants["any"], [ADA]) is None
    assert card_for("bpy", engines["bpy"].variants["any"], [ADA]) is ADA


@pytest.mark.parametrize(
    "field",
    ['driver = "new"', 'capability = ["7.5"]', 'capability = ["7.x", "12.x"]', 'capability = ["7.5", "best"]', "driver = 580.65"],
)  # fmt: skip
def test_a_wrong_field_of_an_owners_engine_is_named(field: str, tmp_path: Path) -> None:
    variant: dict[str, Any] = {"python": ["3.11"], "packages": ["x"], "size": "1Mi"}
    engine: dict[str, Any] = {
        "name": "x", "services": [], "description": "x", "licence": "MIT", "modules": ["x"], "check": "x", "variants": {"cuda": variant}
    }  # fmt: skip
    parse_engines({"engines": [engine]}, tmp_path / "engines.toml")
    name, _, value = field.partition(" = ")
    variant[name] = float(value) if value == "580.65" else json.loads(value)
    with pytest.raises(ConfigurationError, match=rf"engines\.0\.variants\.cuda\.{name}"):
        parse_engines({"engines": [engine]}, tmp_path / "engines.toml")


def test_every_variant_for_cards_states_what_it_needs() -> None:
    """Those that are for machines of any kind do so if they use a card."""
    for engine in load_engines().values():
        for variant in engine.variants.values():
            if variant.name == "cuda":
                assert variant.driver is not None, engine.name
                assert variant.capability is not None, engine.name
