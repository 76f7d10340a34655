"""`scripts/gpu/nvml_record.py`: what it records of a card is enough for the agent to see the same card again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nvml_shim.recording import replayed
from nvml_shim.shim import NO_PERMISSION, TWO_CARDS, Card, NvmlShim, Slice, build

pytestmark = pytest.mark.system

SCRIPT = Path(__file__).parents[3] / "scripts" / "gpu" / "nvml_record.py"

INVENTORY = """
import asyncio, dataclasses, json, os, pynvml
from agent.miner.machine.gpus import Gpus
def inventory():
    gpus = Gpus()
    seen = [dataclasses.asdict(gpu) for gpu in gpus.snapshot()]
    computing = {uuid: sorted(pids) for uuid, pids in gpus.computing().items()}
    try:
        return [seen, gpus.reason, computing, asyncio.run(gpus.process_memory())]
    finally:
        gpus.close()
seen = [inventory()]
os.environ["CUDA_VISIBLE_DEVICES"] = "0"
print("\\n" + json.dumps([*seen, inventory()]))
"""

PLAIN = (
    Card(
        "GPU-33333333-cccc-4ccc-8ccc-000000000003",
        name="NVIDIA H100 80GB HBM3",
        capability="9.0",
        used=3 * 2**30,
        processes="4711:1048576,4712:2097152",
        graphics="4712:2097152,4713:4096",
        ecc=2,
        ecc_corrected=7,
        clock_now=1980,
        link="4,8,5,16",
        remapped="0,1,1,0",
        retired=0,
        clocks=64,
        recovery=1,
        minor=3,
        energy=5_000_000_000,
        cores=100,
        compute_mode=3,
    ),
    TWO_CARDS[0],
)
LAPTOP = (
    Card(TWO_CARDS[0].uuid, temperature=None, power=None, power_limit=None, capability=None, clock=None),
)
MIG = (
    Card(
        TWO_CARDS[1].uuid,
        mig=1,
        minor=2,
        instances=(
            Slice("MIG-33333333-aaaa-5aaa-8aaa-000000000001", gi=5, ci=0, processes="9:4096"),
            None,
            Slice("MIG-33333333-aaaa-5aaa-8aaa-000000000002", used=2**30, reserved=2**20),
        ),
    ),
)


def inventory(environment: Mapping[str, str]) -> str:
    """Return all that the agent sees of the cards."""
    done = subprocess.run(
        [sys.executable, "-c", INVENTORY], env=environment, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


def record(nvml: NvmlShim, file: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, SCRIPT, file], env=nvml.environment, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    assert done.stderr == ""
    recording: dict[str, Any] = json.loads(file.read_text())
    return recording


@pytest.mark.parametrize(
    ("cards", "errors", "privileged", "without"),
    [
        pytest.param(PLAIN, {"nvmlDeviceGetTotalEccErrors": 999}, True, [], marks=pytest.mark.ship),
        pytest.param(
            LAPTOP,
            {},
            True,
            ["nvmlDeviceGetFieldValues", "nvmlDeviceGetRemappedRows"],
            marks=pytest.mark.ship,
        ),
        (MIG, {"0:2.error.nvmlDeviceGetComputeRunningProcesses_v3": NO_PERMISSION}, False, []),
    ],
)
def test_the_agent_sees_a_recorded_card_again(
    tmp_path: Path, cards: tuple[Card, ...], errors: dict[str, int], privileged: bool, without: list[str]
) -> None:
    library = build(tmp_path / "library", without)
    original = NvmlShim(library, tmp_path / "state", cards, errors=errors, privileged=privileged)
    recording = record(original, tmp_path / "recording.json")
    copy = replayed(tmp_path / "recording.json", tmp_path / "copy")
    seen = inventory(original.environment)
    assert inventory(copy.environment) == seen
    assert len(json.loads(seen)[0][0]) == sum(len(list(filter(None, card.instances))) or 1 for card in cards)
    # Also what the agent makes nothing of today.
    assert record(copy, tmp_path / "again.json")["calls"] == recording["calls"]


def test_each_function_that_only_reads_is_recorded_with_the_sizes_of_its_structures(tmp_path: Path) -> None:
    original = NvmlShim(build(tmp_path / "library"), tmp_path / "state", (*PLAIN, *MIG))
    recording = record(original, tmp_path / "recording.json")
    assert not [name for name in recording["not_called"] if name.startswith("nvmlDeviceGet")]
    memory = next(call for call in recording["calls"] if call["function"] == "nvmlDeviceGetMemoryInfo_v2")
    assert (memory["device"], memory["returned"]) == ("0", 0)
    assert memory["outputs"] == [
        {
            "type": "c_nvmlMemory_v2_t",
            "size": 40,
            "value": {
                "version": 40 | 2 << 24,
                "total": 24 * 2**30,
                "reserved": 512 * 2**20,
                "free": 20.5 * 2**30,
                "used": 3 * 2**30,
            },
        }
    ]


def test_without_a_card_nothing_is_recorded(tmp_path: Path) -> None:
    original = NvmlShim(build(tmp_path / "library"), tmp_path / "state", init=9)
    file = tmp_path / "recording.json"
    command = [sys.executable, SCRIPT, file]
    done = subprocess.run(
        command, env=original.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "There is nothing to record. The NVIDIA driver is installed but not loaded." in done.stderr
    assert not file.exists()
