"""The self-test on simulated machines: each fault is named, with what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import cuda_shim.shim as cuda_shim
from agent.miner.machine.gpu_observation import Link, Observation
from agent.miner.machine.gpus import Gpu
from agent.miner.selftest import cards
from agent.miner.selftest.sandboxed import CARD_PROGRAM, Results
from nvml_shim.shim import DRIVER_NOT_LOADED, Card, NvmlShim, build

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).with_name("program.py")
UUID = "GPU-11111111-aaaa-4aaa-8aaa-000000000001"
GOOD = Card(UUID, clock_now=2490, link="1,1,1,1", ecc=0, ecc_corrected=0)
DRIVER = "595.58.03"
MEMORY = 640 * 2**20
HOT = 0x40
"""NVML's reason "hardware thermal slowdown"."""
GPU = Gpu(UUID, 0, "Card", 2**30, 2**30, "8.9", DRIVER, None, None, None)

FFMPEG = """#!/bin/sh
# An FFmpeg whose NVENC is x264, and whose NVDEC is the processor's.
set -- "$@" --
while [ "$1" != -- ]; do
    case "$1" in
        -hwaccel | -hwaccel_output_format) shift ;;
        h264_nvenc) set -- "$@" libx264 -preset ultrafast ;;
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


@pytest.mark.ship
def test_of_two_cards_the_one_that_throttles_fails(machine: Machine) -> None:
    """Both are loaded at the same time. Video is not tested without FFmpeg."""
    (machine.directory / "ffmpeg").unlink()
    second = Card("GPU-22222222-bbbb-4bbb-8bbb-000000000002", clocks=HOT, temperature=97, clock_now=600)
    tested = machine.test(GOOD, second)
    assert (tested.status, tested.faults) == (1, ["load"])
    (first_load, load) = (check for check in tested.report["checks"] if check["name"] == "load")
    assert (first_load["card"], first_load["outcome"], load["card"]) == (UUID, "ok", second.uuid)
    assert "throttles" in load["message"]
    assert "heat" in load["message"]
    assert "at most 97 °C" in load["message"]
    assert "fans" in load["remedy"]
    assert tested.printed.startswith("Self-test failed: 1 fault")
    assert {check["outcome"] for check in tested.report["checks"] if check["name"] == "encoding"} == {
        "skipped"
    }


def test_damaged_memory_fails(machine: Machine) -> None:
    """A single bit that the driver does not report."""
    (machine.directory / "ffmpeg").unlink()
    machine.write(flip=1)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["memory"])
    assert "wrong bit" in tested.check("memory")["message"]
    assert "replace the card" in tested.check("memory")["remedy"]


@pytest.mark.ship
def test_an_old_driver_fails_and_a_card_can_be_chosen(machine: Machine) -> None:
    """The card that is not chosen is not touched."""
    (machine.directory / "ffmpeg").unlink()
    machine.write(version=11040)
    other = Card("GPU-22222222-bbbb-4bbb-8bbb-000000000002", clocks=HOT)
    tested = machine.test(GOOD, other, driver="470.256.02", chosen=("0",))
    assert (tested.status, tested.faults, list(tested.report["cards"])) == (1, ["driver_old"], [UUID])
    assert "470.256.02" in tested.check("driver_old")["message"]
    assert "driver" in tested.check("driver_old")["remedy"]
    unknown = machine.test(GOOD, chosen=("GPU-3",))
    assert unknown.status != 0
    assert f"There is no card 'GPU-3'; this machine has 0 ({UUID})." in unknown.printed


def test_cuda_that_does_not_start_in_the_sandbox_fails(machine: Machine) -> None:
    """The test of the card ends there, but the services are tried."""
    machine.write(init=304)
    tested = machine.test(GOOD)
    assert (tested.status, tested.faults) == (1, ["cuda"])
    assert (
        "cuInit failed: OS call failed or operation not supported on this OS (error 304)."
        in tested.check("cuda")["message"]
    )
    assert "sandbox" in tested.check("cuda")["remedy"]
    assert tested.check("sleeping")["outcome"] == "ok"


@pytest.mark.ship
def test_a_machine_without_a_card_tests_its_processor(machine: Machine) -> None:
    tested = machine.run({**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert (tested.status, tested.faults) == (0, [])
    assert "There is no NVIDIA GPU" in tested.printed
    assert "always with the same results" in tested.check("load")["message"]
    assert tested.check("memory")["figures"]["memory_checked"] > 0
    assert tested.check("sleeping")["outcome"] == "ok"


@pytest.mark.ship
def test_a_driver_that_is_not_loaded_and_a_job_that_fails_are_named(machine: Machine) -> None:
    """The processor and the other services are tested nevertheless."""
    tested = machine.test(GOOD, init=DRIVER_NOT_LOADED, services="sleeping,failing")
    assert (tested.status, sorted(tested.faults)) == (1, ["failing", "gpu_unusable"])
    assert "modprobe nvidia" in tested.check("gpu_unusable")["remedy"]
    assert "The card is on fire." in tested.check("failing")["message"]
    assert (tested.check("load")["outcome"], tested.check("sleeping")["outcome"]) == ("ok", "ok")


# The programs and what follows from their results --------------------------------------------------------------------


def loaded(directory: Path, **state: object) -> Results:
    """Run the program of a card outside of a sandbox."""
    cuda_shim.build(directory)
    cuda_shim.write(directory, memory=MEMORY, **state)
    done = subprocess.run(
        [sys.executable, CARD_PROGRAM, json.dumps({"steps": ["load"], "load": 3})],
        env={"LD_LIBRARY_PATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    results = Results()
    for line in done.stdout.splitlines():
        results.add(line)
    return results


def test_a_card_that_computes_different_results_fails(tmp_path: Path) -> None:
    (check,) = cards.load(GPU, loaded(tmp_path, wrong=1), None)
    assert (check.outcome, "different results from the same data" in check.message) == ("fault", True)
    (check,) = cards.load(GPU, loaded(tmp_path), None)
    assert check.outcome == "ok"


def test_a_card_that_is_lost_under_load_fails(tmp_path: Path) -> None:
    (check,) = cards.load(GPU, loaded(tmp_path, lost=2), None)
    assert (check.outcome, "unknown error (error 999)" in check.message) == ("fault", True)
    lost = cards.errors(GPU, None, Observation())
    assert (lost.outcome, "lost the card" in lost.message) == ("fault", True)


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        (46, "all CUDA-capable devices are busy or unavailable", "nvidia-smi -c DEFAULT"),
        (100, "no CUDA-capable device is detected", "/dev/nvidia-uvm"),
        (803, "system has unsupported display driver / cuda driver combination", "Restart the machine"),
        (999, "unknown error", "nvidia-modprobe"),
        (7, "something new", "Restart"),
    ],
)
def test_errors_of_cuda_have_remedies(code: int, words: str, remedy: str) -> None:
    check = cards.cuda(GPU, Results(failure=f"cuInit failed: {words}", call="cuInit", code=code))
    assert (check.outcome, check.message.endswith(f"{words} (error {code}).")) == ("fault", True)
    assert remedy in (check.remedy or "")


def test_a_slow_link_is_a_warning() -> None:
    results = Results({"facts": {}, "bus": {"upload": 6.4e9, "download": 6.3e9}})
    (check,) = cards.bus(GPU, results, Observation(link=Link(4, 4), best_link=Link(4, 16)))
    assert (check.outcome, "over PCIe 4 x4; card and slot can do PCIe 4 x16" in check.message) == (
        "warning",
        True,
    )
    (check,) = cards.bus(GPU, results, Observation(link=Link(4, 16), best_link=Link(4, 16)))
    assert (check.outcome, "which could carry 31.5 GB/s" in check.message) == ("warning", True)
    (check,) = cards.bus(GPU, results, Observation(link=Link(4, 4), best_link=Link(4, 4)))
    assert (check.outcome, check.message) == ("ok", "6.4 GB/s to the card, 6.3 GB/s from it, over PCIe 4 x4.")


@pytest.mark.parametrize(
    ("after", "seen", "outcome", "words"),
    [
        ({}, {"corrected": 0, "uncorrected": 0}, "ok", "no errors"),
        ({}, {"xids": [43]}, "ok", "no errors"),
        ({}, {"corrected": 7}, "warning", "7 corrected errors"),
        ({}, {"xids": [63]}, "warning", "Xid 63"),
        ({}, {"uncorrected": 2}, "fault", "2 errors that could not be corrected"),
        ({"fault": "Xid 79, it has fallen off the bus; reset it"}, {}, "fault", "fallen off the bus"),
    ],
)
def test_errors_that_the_driver_reports_are_judged(
    after: dict[str, Any], seen: dict[str, Any], outcome: str, words: str
) -> None:
    check = cards.errors(GPU, replace(GPU, **after), Observation(**seen))
    assert (check.outcome, words in check.message) == (outcome, True)
