"""Cards of AMD and Intel: the kernel's figures, the engine's list of devices, and which services they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.miner.machine.drm import DrmCard, memory_by_process, read_cards
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.vulkan_cards import VulkanCards

GIB = 2**30
AMD = "0000:03:00.0"
INTEL = "0000:0a:00.0"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """The kernel's folder with a card of AMD, one of Intel, one of NVIDIA, and a connector of a screen."""
    devices, classes = tmp_path / "devices", tmp_path / "class"
    write(
        devices / AMD,
        {
            "vendor": "0x1002",
            "mem_info_vram_total": str(16 * GIB),
            "mem_info_vram_used": str(GIB),
            "gpu_busy_percent": "37",
            "hwmon/hwmon3/temp1_input": "61000",
            "hwmon/hwmon3/power1_average": "88500000",
            "hwmon/hwmon3/power1_cap": "263000000",
        },
    )
    write(devices / INTEL, {"vendor": "0x8086"})
    write(devices / "0000:41:00.0", {"vendor": "0x10de"})
    (tmp_path / "amdgpu").mkdir()
    (devices / AMD / "driver").symlink_to(tmp_path / "amdgpu")
    for number, name in enumerate((AMD, INTEL, "0000:41:00.0")):
        (classes / f"card{number}").mkdir(parents=True)
        (classes / f"card{number}" / "device").symlink_to(devices / name)
    (classes / "card0-DP-1").mkdir()
    return classes


def listed(name: str, description: str, bus: str | None, kind: str = "gpu") -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "bus": bus,
        "type": kind,
        "free": 7 * GIB,
        "total": 8 * GIB,
    }


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A program that lists devices, as the interpreter of an engine does."""
    devices = [
        listed("Vulkan0", "AMD Radeon RX 7800 XT", AMD.upper()),
        listed("Vulkan1", "Intel Arc A770", INTEL),
        listed("Vulkan2", "NVIDIA RTX 4090", "0000:41:00.0"),
        listed("Vulkan3", "llvmpipe (LLVM 19)", None),
    ]
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho list >> {tmp_path}/calls\necho '{json.dumps(devices)}'\n")
    program.chmod(0o755)
    return program


def test_what_the_kernel_reports_of_a_card_is_read(sysfs: Path) -> None:
    assert read_cards(sysfs) == [
        DrmCard(AMD, "AMD", "amdgpu", 16 * GIB, GIB, 37, 61, 88.5, 263.0),
        DrmCard(INTEL, "Intel", ""),
    ]
    assert read_cards(sysfs / "missing") == []


def test_a_processs_memory_of_a_card_is_read_once_for_each_client_of_the_driver(tmp_path: Path) -> None:
    clients = [(1, 100), (1, 100), (2, 50)]
    for number, (client, size) in enumerate(clients):
        text = f"pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t{client}\ndrm-pdev:\t{AMD}\ndrm-memory-vram:\t{size} KiB"
        write(tmp_path / "71/fdinfo", {str(number): text})
    write(tmp_path / "72/fdinfo", {"0": "pos:\t0"})
    assert memory_by_process(tmp_path) == {AMD: {71: 150 * 1024}}


def test_cards_that_the_engine_finds_are_gpus_with_the_best_figures(sysfs: Path, engine: Path) -> None:
    """The kernel's where it has some, else the engine's. NVIDIA's cards are NVML's, and programs are no cards."""
    gpus = Gpus(others=VulkanCards(lambda: [str(engine)], cards=lambda: read_cards(sysfs)))
    amd, intel = gpus.snapshot()
    assert (amd.uuid, amd.name, amd.kind, amd.driver) == (
        f"PCI-{AMD}",
        "AMD Radeon RX 7800 XT",
        "vulkan",
        "amdgpu",
    )
    assert (amd.memory_total, amd.memory_free, amd.utilization) == (16 * GIB, 15 * GIB, 37)
    assert (amd.temperature, amd.power, amd.bus) == (61, 88.5, AMD)
    assert (intel.memory_total, intel.memory_free, intel.temperature) == (8 * GIB, 7 * GIB, None)
    assert gpus.reason is None
    assert gpus.computing() == {}


def test_figures_of_the_kernel_need_no_list_of_the_engine(sysfs: Path, engine: Path, tmp_path: Path) -> None:
    only_amd = [card for card in read_cards(sysfs) if card.maker == "AMD"]
    cards = VulkanCards(lambda: [str(engine)], cards=lambda: only_amd)
    for _ in range(3):
        assert len(cards.read()) == 1
    assert (tmp_path / "calls").read_text().count("list") == 1


def test_a_card_that_the_engine_does_not_find_is_explained(sysfs: Path) -> None:
    gpus = Gpus(others=VulkanCards(lambda: ["/bin/false"], cards=lambda: read_cards(sysfs)))
    assert gpus.snapshot() == ()
    assert gpus.reason is not None
    assert f"does not find the card of AMD at {AMD}" in gpus.reason
    assert "engines install llama.cpp" in gpus.reason


def test_programs_count_as_cards_only_if_the_owner_says_so(engine: Path) -> None:
    assert VulkanCards(lambda: [str(engine)], cards=list).read() == []
    (card,) = VulkanCards(lambda: [str(engine)], cards=list, software=True).read()
    assert (card.name, card.memory_free, card.drm) == ("llvmpipe (LLVM 19)", 7 * GIB, None)
