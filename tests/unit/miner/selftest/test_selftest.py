"""The self-test on simulated machines: each fault is named, with what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cuda_shim.shim as cuda_shim
from agent.miner.machine.gpus import Gpu
from agent.miner.selftest import cards
from agent.miner.selftest.sandboxed import Results
from nvml_shim.shim import DRIVER_NOT_LOADED, Card, NvmlShim, build

PROGRAM = Path(__file__).with_name("program.py")
UUID = "GPU-11111111-aaaa-4aaa-8aaa-000000000001"
GOOD = Card(UUID, clock_now=2490, link="1,1,1,1", ecc=0, ecc_corrected=0)
DRIVER = "595.58.03"
MEMORY = 640 * 2**20
HOT = 0x40
"""NVML's reason "hardware thermal slowdown"."""

FFMPEG = """#!/bin/sh
# An FFmpeg whose NVENC is x264, and whose NVDEC is the processor's.
set -- "$@" --
while [ "$1" != -- ]; do
    case "$1" in
        -hwaccel | -hwaccel_output_format) shift ;;
        h264_nvenc) set -- "$@" libx264 ;;
        *) set -- "$@" "$1" ;;
    esac
    shift
done
shift
exec /usr/bin/ffmpeg "$@"
"""


@dataclass(frozen=True)
class Ended:
    """What the command has returned, printed and written."""

    status: int
    printed: str
    report: dict[str, Any]

    def check(self, name: str) -> dict[str, Any]:
        (check,) = (check for check in self.report["checks"] if check["name"] == name)
        return check

    @property
    def faults(self) -> list[str]:
        return [check["name"] for check in self.report["checks"] if check["outcome"] == "fault"]


class Machine:
    """A simulated machine with a driver."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.driver = directory / "driver"
        build(self.driver)
        cuda_shim.build(self.driver)
        self.write()
        (directory / "data").mkdir(mode=0o700)
        ffmpeg = directory / "ffmpeg"
        ffmpeg.write_text(FFMPEG)
        ffmpeg.chmod(0o755)

    def test(
        self, *cards: Card, services: str = "sleeping", chosen: tuple[str, ...] = (), **nvml: Any
    ) -> Ended:
        """Run the command with these cards."""
        shim = NvmlShim(self.driver, self.directory / "cards", cards=cards, **{"driver": DRIVER, **nvml})
        return self.run(shim.environment, services, chosen)

    def write(self, **state: object) -> None:
        """Change the card's state."""
        cuda_shim.write(self.driver, memory=MEMORY, **state)

    def run(
        self, environment: Mapping[str, str], services: str = "sleeping", chosen: tuple[str, ...] = ()
    ) -> Ended:
        report = self.directory / "report.json"
        done = subprocess.run(
            [sys.executable, PROGRAM, self.directory / "data", report, services, *chosen],
            env={**environment, "COLUMNS": "100", "AITBC_RUNNERS__FFMPEG": str(self.directory / "ffmpeg")},
            capture_output=True,
            text=True,
            timeout=290,  # what a self-test promises
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        written = json.loads(report.read_text()) if report.exists() else {}
        return Ended(done.returncode, done.stdout or done.stderr, written)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.skipif(shutil.which("ffmpeg") != "/usr/bin/ffmpeg", reason="the stand-in starts Debian's FFmpeg")
def test_a_good_card_passes(machine: Machine) -> None:
    """All checks are performed, and their figures are stored for the coordinator."""
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (0, []), tested.printed
    assert tested.printed.startswith("Self-test passed")
    outcomes = {check["name"]: check["outcome"] for check in tested.report["checks"]}
    names = ("gpu", "cuda", "bus", "memory", "load", "errors", "encoding", "decoding", "sleeping")
    assert {name: outcomes[name] for name in names} == dict.fromkeys(names, "ok")
    assert tested.check("memory")["figures"]["memory_checked"] == 384 * 2**20
    assert tested.check("bus")["figures"]["link_width"] == 1
    assert tested.check("load")["figures"]["clock"] == 2490
    assert tested.check("sleeping")["card"] == UUID
    stored = machine.directory / "data" / "miner" / "selftest.json"
    assert json.loads(stored.read_text()) == tested.report


def test_a_card_that_throttles_fails(machine: Machine) -> None:
    tested = machine.test(Card(UUID, clocks=HOT, temperature=97, clock_now=600))
    assert (tested.status, tested.faults) == (1, ["load"])
    load = tested.check("load")
    assert "throttles" in load["message"]
    assert "heat" in load["message"]
    assert "at most 97 °C" in load["message"]
    assert "fans" in load["remedy"]
    assert tested.printed.startswith("Self-test failed: 1 fault")


def test_damaged_memory_fails(machine: Machine) -> None:
    """A single bit that the driver does not report."""
    machine.write(flip=1)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["memory"])
    assert (
        "1 wrong bit" in tested.check("memory")["message"]
        or "wrong bits" in tested.check("memory")["message"]
    )
    assert "replace the card" in tested.check("memory")["remedy"]


def test_a_card_that_computes_wrong_results_fails(machine: Machine) -> None:
    machine.write(wrong=1)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["load"])
    assert "different results from the same data" in tested.check("load")["message"]


def test_an_old_driver_fails(machine: Machine) -> None:
    machine.write(version=11040)
    tested = machine.test(GOOD, driver="470.256.02")
    assert (tested.status, tested.faults) == (1, ["driver_old"])
    assert "470.256.02" in tested.check("driver_old")["message"]
    assert "driver" in tested.check("driver_old")["remedy"]


def test_cuda_that_does_not_start_in_the_sandbox_fails(machine: Machine) -> None:
    """The test ends there, but the services are tried."""
    machine.write(init=304)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["cuda"])
    assert "cuInit failed: CUDA_ERROR_OPERATING_SYSTEM (error 304)." in tested.check("cuda")["message"]
    assert "sandbox" in tested.check("cuda")["remedy"]
    assert tested.check("sleeping")["outcome"] == "ok"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (46, "nvidia-smi -c DEFAULT"),
        (100, "nvidia-modprobe"),
        (803, "Restart the machine"),
        (999, "nvidia_uvm"),
        (7, "Restart"),
    ],
)
def test_errors_of_cuda_have_remedies(code: int, remedy: str) -> None:
    gpu = Gpu(UUID, 0, "Card", 2**30, 2**30, "8.9", DRIVER, None, None, None)
    check = cards.cuda(gpu, Results(failure="cuInit failed: CUDA_ERROR_X", call="cuInit", code=code))
    assert (check.outcome, check.message.endswith(f"CUDA_ERROR_X (error {code}).")) == ("fault", True)
    assert remedy in (check.remedy or "")


def test_a_card_that_is_lost_under_load_fails(machine: Machine) -> None:
    machine.write(lost=4)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["load"])
    assert "CUDA_ERROR_UNKNOWN (error 999)" in tested.check("load")["message"]


def test_half_of_the_lanes_are_a_warning(machine: Machine) -> None:
    tested = machine.test(Card(UUID, link="4,4,4,16"))
    assert (tested.status, tested.faults) == (0, [])
    assert "PCIe 4 x4; card and slot can do PCIe 4 x16" in tested.check("bus")["message"]
    assert tested.check("bus")["outcome"] == "warning"


def test_a_service_whose_job_fails_is_a_fault(machine: Machine) -> None:
    tested = machine.test(GOOD, services="sleeping,failing")
    assert (tested.status, tested.faults) == (1, ["failing"])
    assert "The card is on fire." in tested.check("failing")["message"]


def test_one_of_two_cards_can_be_chosen(machine: Machine) -> None:
    """The other one is not touched, and a card that is not there is named."""
    second = Card("GPU-22222222-bbbb-4bbb-8bbb-000000000002", clocks=HOT)
    tested = machine.test(GOOD, second, chosen=("0",))
    assert (tested.status, list(tested.report["cards"])) == (0, [UUID])
    tested = machine.test(GOOD, second, chosen=("GPU-3",))
    assert tested.status != 0
    assert "There is no card 'GPU-3'; this machine has 0 (GPU-1111" in tested.printed


def test_a_machine_without_a_card_tests_its_processor(machine: Machine) -> None:
    tested = machine.run({**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert (tested.status, tested.faults) == (0, [])
    assert "There is no NVIDIA GPU" in tested.printed
    assert "always with the same results" in tested.check("load")["message"]
    assert tested.check("memory")["figures"]["memory_checked"] > 0
    assert tested.check("sleeping")["outcome"] == "ok"


def test_a_driver_that_is_not_loaded_is_named(machine: Machine) -> None:
    """The processor is tested nevertheless."""
    tested = machine.test(GOOD, init=DRIVER_NOT_LOADED)
    assert (tested.status, tested.faults) == (1, ["gpu_unusable"])
    assert "modprobe nvidia" in tested.check("gpu_unusable")["remedy"]
    assert tested.check("load")["outcome"] == "ok"
