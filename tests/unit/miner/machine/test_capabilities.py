"""The capabilities of a machine, from real runner classes and simulated GPUs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.catalogue import CatalogueEntry
from agent.miner.machine import hardware
from agent.miner.machine.capabilities import Capabilities, Machine, tools
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.models.store import ModelStore
from agent.settings import Settings
from nvml_shim.shim import TWO_CARDS, NvmlShim
from runners.api import Context, Probe, Requirements, Result, Runner, ServiceDefinition, Strict, Tools

GIB = 2**30
CARD = Gpu("GPU-1", 0, "Card", 24 * GIB, 23 * GIB, "8.9", "570", None, None, None)


class FixedGpus(Gpus):
    """Fixed GPUs."""

    def __init__(self, *cards: Gpu) -> None:
        super().__init__()
        self.cards = cards

    def snapshot(self) -> tuple[Gpu, ...]:
        self.reason = None if self.cards else "There is no driver."
        return self.cards


def runner(
    *, requirements: Requirements | None = None, model_field: str | None = None, **probed: Any
) -> type[Runner[Strict]]:
    class Example(Runner[Strict]):
        name = "example"
        version = "0.1.0"
        definition = ServiceDefinition(
            service_id="example_service",
            name="Example",
            category="test",
            description="",
            tags=(),
            unit="second",
            determinism="exact",
            input_model=Strict,
            output_model=Strict,
            requirements=requirements or Requirements(),
            model_field=model_field,
        )

        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            return Probe(**{"available": True, "version": "7.1", **probed})

        def run(self, request: Strict, context: Context) -> Result:
            raise NotImplementedError

    return Example


def probe(
    tmp_path: Path,
    *cards: Gpu,
    settings: dict[str, Any] | None = None,
    repository: str | None = "somebody/small",
    **runners: Any,
) -> Capabilities:
    model = ("example_service", ("engine",), repository, 0, 0, 0, "MIT", "")
    catalogue = {
        "small": CatalogueEntry("small", *model),
        "touch": CatalogueEntry("touch", *model, kind="adapter"),
    }
    machine = Machine(
        Settings(data_dir=tmp_path / "data", **(settings or {})),
        FixedGpus(*cards),
        ModelStore(tmp_path, catalogue),
        runners,
        probe_seconds=0.3,
    )
    return asyncio.run(machine.probe())


def test_a_working_runner_is_offered_at_its_price(tmp_path: Path):
    prices = {"miner": {"prices": {"other": "9"}, "default_price": "0.00100"}}
    found = probe(tmp_path, settings=prices, example_service=runner(features={"encoders": ["h264"]}))
    assert found.to_wire()["services"] == {
        "example_service": {
            "runner": "example",
            "version": "0.1.0+7.1",
            "versions": ["0.1.0+7.1"],
            "models": [],
            "loaded": [],
            "downloadable": False,
            "unit_price": "0.001",
            "features": {"encoders": ["h264"]},
            "concurrency": 1,
            "gpus": 1,
            "unavailable_models": [],
            "score": None,
        }
    }
    own = probe(
        tmp_path, settings={"miner": {"prices": {"example_service": "2.50"}}}, example_service=runner()
    )
    assert own.services["example_service"].unit_price == "2.5"


def test_a_service_whose_engine_finds_no_gpu_is_work_of_the_processor(tmp_path: Path):
    """Its devices are the processor, also for benchmarks and prices, and the owner learns what to install."""
    engines = {"features": {"engines": ["slow"]}, "kinds": {"slow": ("cpu",)}}
    found = probe(tmp_path, CARD, example_service=runner(**engines), other=runner())
    assert [device.kind for device in found.devices_of("example_service")] == ["cpu"]
    assert [device.kind for device in found.devices_of("other")] == ["cuda"]
    (hint,) = found.hints["example_service"]
    assert "slow finds no GPU" in hint
    assert "aitbc-agent engines install slow" in hint
    assert not found.hints["other"]
    without_card = probe(tmp_path, example_service=runner(**engines))
    assert not without_card.hints["example_service"]


def test_another_makers_card_serves_only_engines_that_can_use_it(tmp_path: Path):
    """Other services run on the processor, and those that need an NVIDIA card are not offered."""
    card = replace(CARD, uuid="PCI-0000:03:00.0", name="Radeon", compute_capability=None, kind="vulkan")
    engines = {"features": {"engines": ["able"]}, "kinds": {"able": ("cpu", "cuda", "vulkan")}}
    found = probe(
        tmp_path,
        card,
        example_service=runner(**engines),
        other=runner(),
        needy=runner(requirements=Requirements(gpu="required")),
    )
    assert [device.kind for device in found.devices_of("example_service")] == ["vulkan"]
    assert [device.kind for device in found.devices_of("other")] == ["cpu"]
    assert found.hints["other"] == ("It runs on the processor: only llama.cpp uses cards of AMD and Intel.",)
    assert not found.hints["example_service"]
    assert "NVIDIA" in found.unavailable["needy"][0]
    assert found.to_wire()["gpus"][0]["name"] == "Radeon"


def test_models_on_disk_and_loaded_models_are_listed(tmp_path: Path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "model.bin").touch()
    found = probe(tmp_path, example_service=runner(model_field="model")).with_models(
        {}, {"example_service": ["small"]}, {"example_service": {"large": "It is too large."}}
    )
    offer = found.services["example_service"]
    assert (offer.models, offer.loaded, offer.downloadable) == (("small",), ("small",), True)
    assert offer.unavailable_models == ("large",)
    fixed = probe(
        tmp_path, settings={"runners": {"model_download": False}}, example_service=runner(model_field="model")
    )
    assert not fixed.services["example_service"].downloadable
    local = probe(tmp_path, repository=None, example_service=runner(model_field="model"))
    assert not local.services["example_service"].downloadable


def test_adapters_on_disk_are_listed_with_models_even_if_added_later(tmp_path: Path):
    (tmp_path / "touch").mkdir()
    (tmp_path / "touch" / "adapter.safetensors").touch()
    found = probe(tmp_path, example_service=runner(model_field="model"), other=runner())
    assert found.services["example_service"].models == ("touch",)
    later = found.with_models({"example_service": ["small", "touch"], "unknown": ["x"]}, {}, {})
    assert later.services["example_service"].models == ("small", "touch")
    assert later.services["other"] == found.services["other"]


def test_a_runner_that_needs_a_gpu_is_not_offered_without_one(tmp_path: Path):
    needs = runner(requirements=Requirements(gpu="required", vram=20 * GIB))
    assert probe(tmp_path, example_service=needs).unavailable == {
        "example_service": ("It needs an NVIDIA GPU. There is no driver.",)
    }
    assert "example_service" in probe(tmp_path, CARD, example_service=needs).services
    large = runner(requirements=Requirements(gpu="required", vram=48 * GIB))
    assert (
        "48.0 GiB of memory" in probe(tmp_path, CARD, example_service=large).unavailable["example_service"][0]
    )


@pytest.mark.parametrize("need", ["memory", "disk"])
def test_a_service_that_needs_a_larger_machine_is_not_offered(tmp_path: Path, need: str):
    huge = runner(requirements=Requirements(**{need: 2**60}))
    (reason,) = probe(tmp_path, example_service=huge).unavailable["example_service"]
    assert reason.startswith("It needs 1073741824.0 GiB of")


def test_the_runners_reasons_are_reported(tmp_path: Path):
    missing = runner(available=False, reasons=("ffmpeg was not found; install it.",))
    silent = runner(available=False)
    hinting = runner(reasons=("A GPU would be faster.",))
    found = probe(tmp_path, missing=missing, silent=silent, hinting=hinting)
    assert found.unavailable["missing"] == ("ffmpeg was not found; install it.",)
    assert found.unavailable["silent"] == ("The runner example is not available and gives no reason.",)
    assert found.hints["hinting"] == ("A GPU would be faster.",)


def test_a_runner_that_raises_or_hangs_affects_only_itself(tmp_path: Path):
    release = threading.Event()

    class Raising(runner()):
        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            raise OSError("library is missing")

    class Hanging(runner()):
        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            release.wait(60)
            return Probe(available=True)

    try:
        found = probe(tmp_path, raising=Raising, hanging=Hanging, working=runner())
    finally:
        release.set()
    assert list(found.services) == ["working"]
    assert "(OSError: library is missing)" in found.unavailable["raising"][0]
    assert "did not end within 0.3 s" in found.unavailable["hanging"][0]


def test_without_a_gpu_there_is_one_cpu_device_whose_cores_the_slots_share(tmp_path: Path):
    cores = hardware.physical_cores()
    alone = probe(tmp_path)
    shared = probe(tmp_path, settings={"miner": {"slots": cores + 1}})
    assert [(device.kind, device.threads) for device in alone.devices] == [("cpu", cores)]
    assert alone.slots == 1
    assert alone.devices[0].name
    assert [device.threads for device in shared.devices] == [1]
    assert shared.slots == cores + 1


def test_each_gpu_is_a_device_of_the_real_library(nvml: NvmlShim, tmp_path: Path):
    nvml.change(0, minor=2)
    nvml.change(1, minor=5)
    program = """
import asyncio, json, sys
import structlog
from pathlib import Path
from agent.miner.machine.capabilities import Machine
from agent.miner.machine.gpus import Gpus
from agent.miner.models.store import ModelStore
from agent.settings import Settings
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
found = asyncio.run(Machine(Settings(data_dir=sys.argv[1]), Gpus(), ModelStore(Path(sys.argv[1]), {}), {}).probe())
print(json.dumps([found.to_wire(), [[device.kind, device.uuid, device.device_files] for device in found.devices]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=nvml.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    wire, devices = json.loads(done.stdout)
    assert devices == [["cuda", TWO_CARDS[0].uuid, ["nvidia2"]], ["cuda", TWO_CARDS[1].uuid, ["nvidia5"]]]
    assert wire["slots"] == 2
    assert wire["gpus"][1] == {
        "uuid": TWO_CARDS[1].uuid,
        "index": 1,
        "name": "NVIDIA GeForce RTX 4090",
        "memory_total": 24 * GIB,
        "memory_free": 24 * GIB - GIB // 2,
        "compute_capability": "8.9",
        "driver": "570.86.15",
    }
    assert set(wire) == {
        "services",
        "unavailable",
        "cpu_cores",
        "memory",
        "disk_free",
        "gpus",
        "slots",
        "sandbox",
    }


def test_gpus_that_programs_cannot_be_restricted_to_are_logged(tmp_path: Path):
    with capture_logs() as logs:
        probe(tmp_path, replace(CARD, device_files=("nvidia0",)), replace(CARD, uuid="GPU-2", index=1))
    assert [entry["gpus"] for entry in logs if entry["event"] == "gpu_device_files_unknown"] == [["1"]]


def test_slices_of_a_gpu_are_devices_that_no_engine_uses_together(tmp_path: Path):
    """Each child gets one of them, by its UUID."""
    slices = [replace(CARD, uuid=f"MIG-{number}", slice=number, memory_total=10 * GIB) for number in (0, 1)]
    found = probe(tmp_path, *slices, example_service=runner(gpus=8))
    assert [(device.uuid, device.memory) for device in found.devices] == [
        ("MIG-0", 10 * GIB),
        ("MIG-1", 10 * GIB),
    ]
    assert found.services["example_service"].gpus == 1
    whole = [replace(CARD, uuid=f"GPU-{number}", index=number) for number in (1, 2)]
    assert (
        probe(tmp_path, *slices, *whole, example_service=runner(gpus=8)).services["example_service"].gpus == 2
    )


@pytest.mark.parametrize(
    ("engines", "by_index", "offered"),
    [
        (["vllm", "transformers"], (True, False), True),
        (["vllm", "transformers"], (False, False), False),
        (["llama.cpp", "vllm"], (False, False), True),
        (["llama.cpp"], (False, False), True),
    ],
)
def test_slices_that_an_engine_mistakes_for_other_cards_are_named(
    tmp_path: Path, engines: list[str], by_index: tuple[bool, bool], offered: bool
):
    """Without a slice that its only engine can use, the service is unavailable with the same words."""
    slices = [
        replace(CARD, uuid=f"MIG-{number}", slice=number, by_index=usable)
        for number, usable in enumerate(by_index)
    ]
    language = runner(features={"engines": engines})
    language.engines_by_index = frozenset({"vllm"})
    found = probe(tmp_path, *slices, example_service=language)
    assert ("example_service" in found.services) == offered
    words = " ".join(found.hints["example_service"] if offered else found.unavailable["example_service"])
    mistaken = ", ".join(f"0:{number}" for number, usable in enumerate(by_index) if not usable)
    assert ("vllm" in engines) == (f"vllm cannot use the MIG instances {mistaken}: it would" in words)


def test_runners_get_the_programs_and_limits_of_the_settings(tmp_path: Path):
    chosen = tools(Settings(models_dir=tmp_path, runners={"ffmpeg": "/opt/ffmpeg", "max_memory": "2Gi"}))
    assert (chosen.ffmpeg, chosen.max_memory, chosen.models_dir) == ("/opt/ffmpeg", 2 * GIB, tmp_path)


def test_a_python_model_may_have_threads_for_each_processor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 192)
    assert tools(Settings()).max_processes == 512
    assert tools(Settings(runners={"max_processes": 3})).max_processes == 3


def test_engines_on_a_gpu_answer_many_requests_together():
    """With eight, vLLM reaches a small part of its speed."""
    assert tools(Settings(), gpu=True).batch >= 64
    assert tools(Settings(), gpu=False).batch == 8
    assert tools(Settings(runners={"batch": 3}), gpu=True).batch == 3


def test_the_limits_of_a_container_override_those_of_the_machine(tmp_path: Path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert hardware.cpu_cores(tmp_path) == hardware.physical_cores(tmp_path) == 1
    assert hardware.memory_total(tmp_path) == GIB
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.cpu_cores(tmp_path) == hardware.cpu_cores(tmp_path / "no control groups") >= 1
    assert hardware.memory_total(tmp_path) == hardware.memory_total(tmp_path / "no control groups") > GIB
