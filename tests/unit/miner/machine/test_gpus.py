"""The real nvidia-ml-py with a simulated NVIDIA library, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from miner_support import gpu_reader
from nvml_shim.shim import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    NO_PERMISSION,
    NOT_SUPPORTED,
    TWO_CARDS,
    VERSION_MISMATCH,
    NvmlShim,
    Slice,
    build,
)
from support.workers.fork_server import ForkServer

GIB = 2**30


class Program:
    """A program that reads the GPUs."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def answer(self, what: str) -> Any:
        self._process.stdin.write(f"{what}\n".encode())
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def processes(self) -> dict[str, dict[str, int]]:
        return self.answer("processes")

    def ask(self, what: str = "snapshot") -> tuple[list[dict[str, Any]], str | None]:
        answer = self.answer(what)
        return answer["gpus"], answer["reason"]


@contextmanager
def watching(
    environment: Mapping[str, str], reconnect_seconds: float = 600, *, forked: bool = True
) -> Iterator[Program]:
    """Start the program; `forked`, it needs no time to import."""
    command = [gpu_reader.__file__, str(reconnect_seconds)]
    if forked:
        process = ForkServer.of(gpu_reader.__name__).start(command, environment, pipes=(0, 1))
    else:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    with process:
        try:
            yield Program(process)
        finally:
            process.kill()


def test_all_values_of_a_gpu_are_read(nvml: NvmlShim):
    nvml.change(1, bus="00000000:C1:00.0")
    with watching(nvml.environment) as program:
        gpus, reason = program.ask()
    assert reason is None
    assert gpus[1] == {
        "uuid": TWO_CARDS[1].uuid,
        "kind": "cuda",
        "index": 1,
        "name": "NVIDIA GeForce RTX 4090",
        "memory_total": 24 * GIB,
        "memory_free": 24 * GIB - GIB // 2,
        "compute_capability": "8.9",
        "driver": "570.86.15",
        "utilization": 3,
        "temperature": 41,
        "power": 60.5,
        "power_limit": 450.0,
        "fault": None,
        "slowed": False,
        "slice": None,
        "by_index": True,
        "exclusive": False,
        "device_files": [],
        "bus": "0000:c1:00.0",
    }


def test_memory_of_another_program_is_counted_at_once(nvml: NvmlShim):
    with watching(nvml.environment) as program:
        before, _ = program.ask()
        nvml.change(0, used=20 * GIB, temperature=83)
        after, _ = program.ask()
    assert before[0]["memory_free"] - after[0]["memory_free"] == 20 * GIB
    assert after[0]["temperature"] == 83
    assert after[1] == before[1]


def test_the_memory_of_processes_that_compute_or_render_is_read(nvml: NvmlShim):
    """One process may do both; a driver that does not report them, as in some virtual machines, has none."""
    with watching(nvml.environment) as program:
        program.ask()
        nvml.change(0, processes=f"11:{2 * GIB},12:{GIB}", graphics=f"12:{GIB},13:{3 * GIB}")
        assert program.processes() == {
            TWO_CARDS[0].uuid: {"11": 2 * GIB, "12": GIB, "13": 3 * GIB}, TWO_CARDS[1].uuid: {},
        }  # fmt: skip
        nvml.errors["nvmlDeviceGetComputeRunningProcesses_v3"] = 3
        nvml.write()
        assert program.processes()[TWO_CARDS[0].uuid] == {"12": GIB, "13": 3 * GIB}


@pytest.mark.parametrize(
    ("sign", "fault"),
    [
        ({"ecc": 1}, "1 uncorrectable memory error since the driver was loaded; reset it"),
        ({"ecc": 12}, "12 uncorrectable memory errors"),
        ({"retired": 1}, "a damaged part of its memory is replaced with the next reset"),
        ({"remapped": "3,1,1,0"}, "a damaged part of its memory is replaced with the next reset"),
        ({"remapped": "3,9,0,1", "ecc": 1}, "beyond repair; replace the card"),
        ({"xid": 119}, "Xid 119, its system processor does not respond; reset it"),
        ({"ecc": 0, "remapped": "3,0,0,0", "retired": 0}, None),
        ({"xid": 13}, None),  # the fault of one program
    ],
)
def test_a_faulty_gpu_is_recognised(nvml: NvmlShim, sign: dict[str, Any], fault: str | None):
    """The sign appears while the GPU is in use. The other one is healthy."""
    with watching(nvml.environment) as program:
        before, _ = program.ask()
        nvml.change(1, **sign)
        after, reason = program.ask()
    assert [gpu["fault"] for gpu in (*before, after[0])] == [None] * 3
    assert reason is None
    if fault is None:
        assert after[1]["fault"] is None
    else:
        assert fault in after[1]["fault"]


@pytest.mark.parametrize("xid", [46, 79, 109, 110, 136, 143, 147, 150, 154])
def test_an_xid_error_outlives_the_connection(nvml: NvmlShim, xid: int):
    """An error of a program that follows it does not hide it. Only a driver that was unloaded has reset the card."""
    with watching(nvml.environment) as program:
        program.ask()
        for reported in (xid, 31):
            nvml.change(0, xid=reported)
            (first, _), _ = program.ask()
            assert first["fault"].startswith(f"Xid {xid}, ")
        program.ask("close")
        (first, _), _ = program.ask()
        assert first["fault"].startswith(f"Xid {xid}, ")
        nvml.errors = {"nvmlDeviceGetCount_v2": DRIVER_NOT_LOADED}
        nvml.write()
        program.ask()
        nvml.errors = {}
        nvml.write()
        (first, _), _ = program.ask()
        assert first["fault"] is None


@pytest.mark.parametrize("problem", [{"mig": 1}, {"error": NO_PERMISSION}, {"error": GPU_IS_LOST}])
def test_an_xid_error_is_noticed_while_another_card_has_a_lasting_problem(
    nvml: NvmlShim, problem: dict[str, int]
):
    """The driver reports an error only to programs that listened before it happened."""
    with watching(nvml.environment) as program:
        program.ask()
        nvml.change(0, **problem)
        for _ in range(3):
            program.ask()
        nvml.change(1, xid=79)
        for _ in range(3):
            (second,), reason = program.ask()
            assert second["fault"].startswith("Xid 79, it has fallen off the bus")
        assert reason.startswith("GPU 0 cannot be used.")


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (0, None),
        (1, "the driver wants it to be recovered; reset it (nvidia-smi --gpu-reset as root, while the agent"),
        (2, "the driver wants it to be recovered; restart the machine"),
        (4, "the driver wants it to be recovered; it works with less than its full capacity; reset it"),
        (6, "the driver wants it to be recovered; reset it through the PCI bus"),
        (99, "the driver wants it to be recovered; see `nvidia-smi -q`"),
    ],
)
def test_what_the_driver_wants_done_with_a_card_is_its_fault(nvml: NvmlShim, action: int, fault: str | None):
    """As also after an error that happened before the agent started."""
    nvml.change(0, recovery=action, xid=154)
    with watching(nvml.environment) as program:
        (first, second), _ = program.ask()
    assert second["fault"] is None
    assert first["fault"] == fault if fault is None else first["fault"].startswith(fault)


def test_the_remedy_of_an_xid_error_is_what_the_driver_wants(nvml: NvmlShim):
    """A changed action that is none again is no fault."""
    with watching(nvml.environment) as program:
        program.ask()
        nvml.change(0, xid=154, recovery=2)
        (first, _), _ = program.ask()
        assert first["fault"] == "Xid 154, the driver wants it to be recovered; restart the machine"
        nvml.change(0, recovery=0)
        (first, _), _ = program.ask()
        assert first["fault"] is None
        nvml.change(0, xid=79, recovery=2)
        (first, _), _ = program.ask()
        assert first["fault"] == "Xid 79, it has fallen off the bus; restart the machine"


@pytest.mark.parametrize(
    ("reasons", "slowed"), [(0, False), (1 | 4 | 32, False), (64, True), (128 | 1, True)]
)
def test_only_slowing_by_the_hardware_counts(nvml: NvmlShim, reasons: int, slowed: bool):
    """Not an idle card, nor the usual limits of power and heat."""
    nvml.change(0, clocks=reasons)
    with watching(nvml.environment) as program:
        (first, second), _ = program.ask()
    assert (first["slowed"], second["slowed"]) == (slowed, False)


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4070 Laptop GPU", "NVIDIA GeForce RTX 2080 with Max-Q Design"]
)
def test_a_laptop_that_brakes_its_card_is_in_normal_use(nvml: NvmlShim, name: str):
    """Its charger and battery give less than card and processor together could take. Heat still counts."""
    nvml.change(0, name=name, clocks=128)
    nvml.change(1, name=name, clocks=128 | 64)
    with watching(nvml.environment) as program:
        gpus, _ = program.ask()
    assert [gpu["slowed"] for gpu in gpus] == [False, True]


def test_the_compute_mode_of_a_card_is_read(nvml: NvmlShim):
    nvml.change(0, compute_mode=3)
    nvml.change(1, compute_mode=2)
    with watching(nvml.environment) as program:
        (first, second), reason = program.ask()
    assert (first["exclusive"], first["fault"], reason) == (True, None, None)
    assert (second["exclusive"], second["fault"].split(",")[0]) == (False, "its compute mode is PROHIBITED")


def test_the_placement_follows_the_compute_mode(nvml: NvmlShim):
    """Also when it is changed while the agent runs."""
    with watching(nvml.environment) as program:
        assert program.answer("placement") == [False, False]
        nvml.change(1, compute_mode=3)
        assert program.answer("placement") == [False, True]


@pytest.mark.parametrize(
    ("order", "cores", "indices"),
    [
        (None, (3584, 16384), [1]),
        ("FASTEST_FIRST", (3584, 16384), [1]),
        ("PCI_BUS_ID", (3584, 16384), [0]),
        (None, (16384, 16384), [0]),
        (None, (3584, None), [0]),  # a driver that does not report it
    ],
)
def test_numbers_in_cuda_visible_devices_count_the_fastest_card_first(
    nvml: NvmlShim, order: str | None, cores: tuple[int | None, int | None], indices: list[int]
):
    for index, count in enumerate(cores):
        nvml.change(index, cores=count)
    variables = {"CUDA_VISIBLE_DEVICES": "0"} | ({} if order is None else {"CUDA_DEVICE_ORDER": order})
    environment = {name: value for name, value in nvml.environment.items() if name != "CUDA_DEVICE_ORDER"}
    with watching(environment | variables) as program:
        gpus, _ = program.ask()
    assert [gpu["index"] for gpu in gpus] == indices


def test_a_lost_gpu_leaves_the_other_usable_and_returns(nvml: NvmlShim):
    with watching(nvml.environment) as program:
        program.ask()
        nvml.change(1, error=GPU_IS_LOST)
        left, reason = program.ask()
        nvml.change(1, error=None)
        back, no_reason = program.ask()
    assert [gpu["uuid"] for gpu in left] == [TWO_CARDS[0].uuid]
    assert reason == (
        "GPU 1 cannot be used. It has fallen off the bus. Restart the machine, and check the card's power and slot."
    )
    assert len(back) == 2
    assert no_reason is None


def test_a_card_that_was_lost_for_long_returns_after_a_pause(nvml: NvmlShim):
    nvml.change(1, error=GPU_IS_LOST)
    with watching(nvml.environment, reconnect_seconds=0.01) as program:
        for _ in range(5):
            gpus, _ = program.ask()
            assert len(gpus) == 1
        nvml.change(1, error=None)
        while len(gpus) == 1:  # limited by the test's timeout
            gpus, reason = program.ask()
    assert reason is None


@pytest.mark.parametrize(
    ("code", "advice"), [(DRIVER_NOT_LOADED, "modprobe nvidia"), (VERSION_MISMATCH, "Restart the machine")]
)
def test_a_driver_that_is_loaded_later_is_found_without_a_restart(nvml: NvmlShim, code: int, advice: str):
    nvml.init = code
    nvml.write()
    with watching(nvml.environment) as program:
        none, reason = program.ask()
        nvml.init = 0
        nvml.write()
        gpus, no_reason = program.ask()
    assert none == []
    assert advice in reason
    assert len(gpus) == 2
    assert no_reason is None


def test_unloading_the_driver_removes_the_gpus(nvml: NvmlShim):
    with watching(nvml.environment) as program:
        program.ask()
        nvml.errors = {"nvmlDeviceGetCount_v2": DRIVER_NOT_LOADED}
        nvml.write()
        none, reason = program.ask()
        nvml.errors = {}
        nvml.write()
        gpus, _ = program.ask()
    assert none == []
    assert "modprobe nvidia" in reason
    assert len(gpus) == 2


def test_a_replaced_driver_is_connected_again(nvml: NvmlShim):
    with watching(nvml.environment) as program:
        program.ask()
        nvml.generation, nvml.driver = 2, "580.10"
        nvml.write()
        none, reason = program.ask()
        gpus, no_reason = program.ask()
    assert none == []
    assert "Check whether `nvidia-smi` works" in reason
    assert [gpu["driver"] for gpu in gpus] == ["580.10", "580.10"]
    assert no_reason is None


def test_without_the_library_the_reason_names_the_package_to_install(nvml: NvmlShim, tmp_path: Path):
    # A file that is not a library hides a real one that this machine may have.
    (tmp_path / "libnvidia-ml.so.1").write_text("")
    with watching({**nvml.environment, "LD_LIBRARY_PATH": str(tmp_path)}, forked=False) as program:
        none, reason = program.ask()
    assert none == []
    assert reason.startswith("No NVIDIA driver was found on this machine.")
    assert "apt-get install nvidia-driver" in reason


def test_values_that_an_older_library_or_a_gpu_does_not_report_are_none(nvml: NvmlShim, tmp_path: Path):
    """Memory is read with the first version of the call, and the other GPU's values are not affected."""
    missing = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature")
    nvml.library = build(tmp_path / "old", without=missing)
    nvml.change(0, utilization=None, capability=None)
    with watching(nvml.environment) as program:
        gpus, reason = program.ask()
    assert reason is None
    assert [gpu["memory_free"] for gpu in gpus] == [24 * GIB - GIB // 2] * 2
    assert [(gpu["power"], gpu["temperature"]) for gpu in gpus] == [(None, None)] * 2
    assert (gpus[0]["utilization"], gpus[0]["compute_capability"]) == (None, None)
    assert (gpus[1]["utilization"], gpus[1]["compute_capability"]) == (3, "8.9")


def test_a_gpu_without_its_own_memory_shares_the_machines(nvml: NvmlShim):
    nvml.change(0, total=None)
    with watching(nvml.environment) as program:
        gpus, _ = program.ask()
    assert gpus[0]["memory_total"] == psutil.virtual_memory().total
    assert gpus[1]["memory_total"] == 24 * GIB


def test_in_wsl_a_card_is_used_without_its_processes_events_and_device_file(nvml: NvmlShim, tmp_path: Path):
    unsupported = (
        "nvmlEventSetCreate",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
    )
    nvml.errors = dict.fromkeys(unsupported, NOT_SUPPORTED)
    nvml.change(0, minor=0)
    (tmp_path / "dxg").touch()
    with watching({**nvml.environment, "WSL": str(tmp_path / "dxg")}) as program:
        gpus, reason = program.ask()
        assert program.processes() == {card.uuid: {} for card in TWO_CARDS}
    assert reason is None
    assert [(gpu["memory_free"], gpu["fault"], gpu["device_files"]) for gpu in gpus] == [
        (24 * GIB - GIB // 2, None, [])
    ] * 2


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("0,7,1", [0]),
        ("0,0", [0]),
        (TWO_CARDS[1].uuid, [1]),
        ("GPU-22222", [1]),
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("MIG-33333333", []),  # there is none
    ],
)
def test_cuda_visible_devices_is_interpreted_as_by_cuda(nvml: NvmlShim, visible: str, indices: list[int]):
    with watching({**nvml.environment, "CUDA_VISIBLE_DEVICES": visible}) as program:
        gpus, reason = program.ask()
    assert [gpu["index"] for gpu in gpus] == indices
    assert (reason is None) == bool(indices)
    if not indices:
        assert f"CUDA_VISIBLE_DEVICES={visible} " in reason


SLICES = (
    Slice("MIG-33333333-aaaa-5aaa-8aaa-000000000001", used=GIB),
    None,
    Slice("MIG-44444444-bbbb-5bbb-8bbb-000000000002", "NVIDIA A100-SXM4-40GB MIG 2g.10gb", 10 * GIB),
)


@pytest.fixture
def sliced(nvml: NvmlShim) -> NvmlShim:
    """The first card has two MIG instances, with a number between them that is free."""
    nvml.change(0, mig=1, instances=SLICES, used=GIB)
    nvml.change(1, mig=0)
    return nvml


def test_each_mig_instance_is_a_gpu_with_its_own_memory(sliced: NvmlShim):
    """Their card is none, because CUDA cannot use it. What is wrong with it is wrong with each."""
    sliced.change(0, temperature=71, ecc=1)
    with watching(sliced.environment) as program:
        (first, second, other), reason = program.ask()
    assert reason is None
    assert (first["uuid"], first["index"], first["slice"]) == (SLICES[0].uuid, 0, 0)
    assert (first["memory_total"], first["memory_free"]) == (5 * GIB, 4 * GIB)
    assert (second["uuid"], second["slice"]) == (SLICES[2].uuid, 2)
    assert (second["name"], second["memory_total"]) == ("NVIDIA A100-SXM4-40GB MIG 2g.10gb", 10 * GIB)
    assert {gpu["temperature"] for gpu in (first, second)} == {71}
    assert all("1 uncorrectable memory error" in gpu["fault"] for gpu in (first, second))
    assert (other["uuid"], other["slice"], other["fault"]) == (TWO_CARDS[1].uuid, None, None)


def test_the_memory_of_processes_is_that_of_their_mig_instance(sliced: NvmlShim):
    parts = (SLICES[0], None, replace(SLICES[2], processes=f"12:{3 * GIB}"))
    with watching(sliced.environment) as program:
        program.ask()
        sliced.change(0, processes=f"11:{GIB},12:{3 * GIB}", instances=parts)
        assert program.processes() == {
            SLICES[0].uuid: {}, SLICES[2].uuid: {"12": 3 * GIB}, TWO_CARDS[1].uuid: {},
        }  # fmt: skip


def test_a_gpu_has_the_device_files_of_its_own_card_or_instance(sliced: NvmlShim, tmp_path: Path):
    """By NVML's minor number, which is not the card's index."""
    slices = (replace(SLICES[0], gi=7, ci=0), None, replace(SLICES[2], gi=5, ci=1))
    sliced.change(0, minor=3, instances=slices)
    sliced.change(1, minor=1)
    minors = tmp_path / "mig-minors"
    minors.write_text(
        "config 1\nmonitor 2\ngpu1/gi7/access 5\ngpu3/gi5/access 39\ngpu3/gi5/ci1/access 41\ngpu3/gi7/access 57\ngpu3/gi7/ci0/access 58\n"
    )
    with watching({**sliced.environment, "MIG_MINORS": str(minors)}) as program:
        gpus, _ = program.ask()
        assert [gpu["device_files"] for gpu in gpus] == [
            ["nvidia3", "nvidia-caps/nvidia-cap57", "nvidia-caps/nvidia-cap58"],
            ["nvidia3", "nvidia-caps/nvidia-cap39", "nvidia-caps/nvidia-cap41"],
            ["nvidia1"],
        ]
        sliced.change(0, instances=(replace(SLICES[0], gi=9, ci=0),))
        sliced.change(1, minor=None)
        gpus, _ = program.ask()
        assert [gpu["device_files"] for gpu in gpus] == [[], []], "unknown"


def test_an_ordinary_user_gets_the_mig_instances_too(sliced: NvmlShim):
    """The driver refuses the memory of their card to all but administrators."""
    sliced.privileged = False
    sliced.change(0, temperature=71)
    with watching(sliced.environment) as program:
        gpus, reason = program.ask()
        assert reason is None
        assert [gpu["uuid"] for gpu in gpus] == [SLICES[0].uuid, SLICES[2].uuid, TWO_CARDS[1].uuid]
        assert [gpu["memory_free"] for gpu in gpus[:2]] == [4 * GIB, 10 * GIB]
        assert gpus[0]["temperature"] == 71
        sliced.errors = {"nvmlDeviceGetMigDeviceHandleByIndex": NO_PERMISSION}
        sliced.write()
        gpus, reason = program.ask()
    assert [gpu["uuid"] for gpu in gpus] == [TWO_CARDS[1].uuid]
    assert reason.startswith("GPU 0 cannot be used. This user may not use the NVIDIA devices.")


def test_an_instance_is_marked_whose_number_is_that_of_no_card_like_its_own(sliced: NvmlShim):
    """VLLM looks up the card whose number is that of the instance: another one, or none."""
    sliced.change(0, instances=(SLICES[0], Slice("MIG-55555555-cccc-5ccc-8ccc-000000000003"), SLICES[2]))
    with watching(sliced.environment) as program:
        gpus, _ = program.ask()
        assert [gpu["by_index"] for gpu in gpus] == [True, True, False, True]
        sliced.change(1, name="NVIDIA T4")
        gpus, _ = program.ask()
        assert [gpu["by_index"] for gpu in gpus] == [True, False, False, True]


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (SLICES[2].uuid, [SLICES[2].uuid]),
        ("MIG-4444", [SLICES[2].uuid]),
        ("0", [SLICES[0].uuid]),
        ("1,MIG-3333", [TWO_CARDS[1].uuid, SLICES[0].uuid]),
        (TWO_CARDS[0].uuid, []),
    ],
)
def test_cuda_visible_devices_names_mig_instances(sliced: NvmlShim, visible: str, uuids: list[str]):
    with watching({**sliced.environment, "CUDA_VISIBLE_DEVICES": visible}) as program:
        gpus, _ = program.ask()
    assert [gpu["uuid"] for gpu in gpus] == uuids


def test_mig_instances_that_are_removed_are_no_gpus_any_more(sliced: NvmlShim):
    with watching(sliced.environment) as program:
        sliced.change(0, instances=(None, None, None))
        gpus, reason = program.ask()
        assert [gpu["uuid"] for gpu in gpus] == [TWO_CARDS[1].uuid]
        assert reason.startswith("GPU 0 cannot be used. It is in MIG mode without an instance. Create some")
        sliced.change(0, mig=0)
        gpus, reason = program.ask()
        assert ([gpu["uuid"] for gpu in gpus], reason) == ([card.uuid for card in TWO_CARDS], None)


def test_a_driver_without_a_gpu_is_explained(nvml: NvmlShim):
    nvml.cards = ()
    nvml.write()
    with watching(nvml.environment) as program:
        assert program.ask() == (
            [],
            "The NVIDIA driver is loaded, but finds no GPU. Check that the card is in its slot and has power.",
        )


@pytest.mark.parametrize("way", ["snapshot", "refresh"])
def test_a_driver_that_hangs_does_not_hang_the_callers(nvml: NvmlShim, way: str):
    """One thread stays in the driver. The others use the last known GPUs until it responds again."""
    with watching(nvml.environment) as program:
        program.ask()
        nvml.hang = True
        nvml.write()
        known, reason = program.ask("refresh")
        again, _ = program.ask(way)
        nvml.hang = False
        nvml.write()
        nvml.change(0, used=GIB)
        gpus = known
        while gpus[0]["memory_free"] == known[0]["memory_free"]:  # limited by the test's timeout
            gpus, no_reason = program.ask()
    assert len(known) == len(again) == 2
    assert reason == "The NVIDIA driver does not respond. If this lasts, restart the machine."
    assert no_reason is None


def test_after_close_a_snapshot_connects_again(nvml: NvmlShim):
    with watching(nvml.environment) as program:
        program.ask()
        program.ask("close")
        gpus, reason = program.ask()
    assert len(gpus) == 2
    assert reason is None
