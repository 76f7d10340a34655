"""Checks of the machine itself: Python, memory, SQLite and NVIDIA GPUs."""

from __future__ import annotations

import importlib.util
import re
import resource
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.values.durations import format_duration
from agent.core.values.quantities import gibibytes
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor.diagnostics import found
from agent.miner.engines import cuda_start
from agent.miner.engines.cards import older
from agent.miner.machine import hardware
from agent.miner.machine.gpus import DRIVER_MISSING, Gpu
from agent.miner.machine.selftest_report import latest
from agent.miner.pausing.presence import Presence
from agent.miner.sealing import directory as memory_directory
from agent.miner.settings import MinerSettings, PauseSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.extras import install_command

_GOOD_MEMORY: Final = 4 * 2**30
_GOOD_DESCRIPTORS: Final = 4096

_PCI: Final = Path("/sys/bus/pci/devices")
_UVM: Final = Path("/dev/nvidia-uvm")
_WSL: Final = Path("/dev/dxg")
_NVIDIA: Final = "0x10de"
_DISPLAY: Final = "0x03"

_OLDEST_DRIVER: Final = {11: "450.80", 12: "525.60", 13: "580.65"}
"""Oldest driver on Linux by the major version of CUDA (NVIDIA's release notes, "minor version compatibility")."""
_USUAL_CUDA: Final = 12


@dataclass(frozen=True, slots=True)
class Cards:
    """The GPUs that NVML reports, and why others cannot be used."""

    gpus: tuple[Gpu, ...]
    reason: str | None

    @property
    def nvidia(self) -> tuple[Gpu, ...]:
        """Those of NVIDIA, which CUDA and its driver are about."""
        return tuple(gpu for gpu in self.gpus if gpu.kind == "cuda")


def selftest(settings: Settings) -> list[Diagnostic]:
    """Report the latest self-test."""
    report = latest(settings.data_dir.absolute() / "miner")
    if report is None:
        text = "This machine has not tested itself yet. `aitbc-agent selftest` does so in less than five minutes."
        return [ok("selftest", text)]
    age = format_duration(report.age())
    if not report.passed:
        return [found("selftest_failed", age=age, problems=" ".join(report.problems()))]
    return [ok("selftest", f"The self-test {age} ago passed.")]


def owner(settings: Settings, presence: Presence | None = None) -> list[Diagnostic]:
    """Check that the machine knows whether its owner uses it, if it is to pause then."""
    minutes = section_of(settings, MinerSettings).pause.idle_minutes
    if minutes is None:
        return []
    idle = (presence or Presence()).read(PauseSettings(idle_minutes=minutes)).idle_seconds
    if idle is None:
        return [found("owner_unknown")]
    return [ok("owner", f"Keyboard, mouse or a terminal were used {format_duration(idle)} ago.")]


def python() -> list[Diagnostic]:
    """Report which Python runs the agent."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return [ok("python", f"Python {version} at {sys.executable}.")]


def memory(_settings: Settings) -> list[Diagnostic]:
    """Check the size of the main memory."""
    size = hardware.memory_total()
    processor = (
        f"{hardware.cpu_name()}, {hardware.cpu_cores()} processors on {hardware.physical_cores()} cores"
    )
    if size < _GOOD_MEMORY:
        return [found("memory_low", processor=processor, memory=gibibytes(size))]
    return [ok("memory", f"{processor}, {gibibytes(size)} of memory for this process.")]


def descriptors(_settings: Settings) -> list[Diagnostic]:
    """Check how many files and connections the agent may have open. It raises its soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _GOOD_DESCRIPTORS:
        return [found("descriptors_low", limit=str(hard))]
    limit = "any number of" if hard == resource.RLIM_INFINITY else f"{hard}"
    return [ok("descriptors", f"The agent may have {limit} files and connections open.")]


def sealing(settings: Settings) -> list[Diagnostic]:
    """Check whether the miner can accept sealed jobs, whose plaintexts must stay in memory."""
    miner = section_of(settings, MinerSettings)
    chosen = miner.sealing
    if not chosen.enabled or miner.executor != "local":
        return []
    directory = memory_directory.find(chosen.directory, settings.data_dir)
    if directory.path is None:
        return [found("sealing_unavailable", reason=directory.reason)]
    if areas := memory_directory.swaps():
        return [found("sealing_swap", areas=", ".join(areas))]
    return [
        ok(
            "sealing",
            f"Sealed jobs are accepted; their decrypted data stay in memory, below {chosen.directory}.",
        )
    ]


def sqlite(_settings: Settings) -> list[Diagnostic]:
    """Check the version of SQLite, which the databases depend on."""
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        text = "Open the agent's databases with other programs only while it is stopped."
        return [ok("sqlite", f"SQLite {sqlite3.sqlite_version}. {text}")]
    return [ok("sqlite", f"SQLite {sqlite3.sqlite_version}.")]


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the bug in resetting the write-ahead log that 3.51.3, 3.50.7 and 3.44.6 fixed."""
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return not fixed


def gpus(cards: Cards) -> list[Diagnostic]:
    """Check that the GPUs and their driver can be used."""
    installed = _installed(_PCI)
    if not cards.gpus and not installed and cards.reason == DRIVER_MISSING:
        return [ok("gpu", "There is no NVIDIA GPU; jobs run on the CPU, which is slower.")]
    diagnostics = []
    if cards.gpus:
        names = ", ".join(
            f"{gpu.name} ({gibibytes(gpu.memory_total)}, driver {gpu.driver})" for gpu in cards.gpus
        )
        diagnostics.append(ok("gpu", f"{names}."))
    if cards.reason == DRIVER_MISSING:
        diagnostics.append(found("driver_missing", card=", ".join(installed)))
    elif cards.reason is not None:
        diagnostics.append(found("gpu_unusable", reason=cards.reason))
    diagnostics += [
        found("gpu_faulty", card=f"GPU {gpu.number} ({gpu.name})", fault=gpu.fault)
        for gpu in cards.gpus
        if gpu.fault is not None
    ]
    diagnostics += [
        found("gpu_slowed", card=f"GPU {gpu.number} ({gpu.name})") for gpu in cards.gpus if gpu.slowed
    ]
    diagnostics += [
        found("gpu_exclusive", card=f"GPU {gpu.number} ({gpu.name})") for gpu in cards.gpus if gpu.exclusive
    ]
    # WSL has another device for all of CUDA.
    if cards.nvidia and not (_UVM.exists() or _WSL.exists()):
        diagnostics.append(found("uvm_missing"))
    if cards.nvidia:
        diagnostics += _driver(cards.nvidia[0].driver)
    return diagnostics


def _installed(devices: Path) -> list[str]:
    """Return the addresses of NVIDIA GPUs on the PCI bus, with or without a driver."""
    found_cards = []
    for device in sorted(devices.glob("*")):
        try:
            vendor = (device / "vendor").read_text(encoding="ascii").strip()
            kind = (device / "class").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            found_cards.append(f"PCI {device.name}")
    return found_cards


def cuda(cards: Cards) -> list[Diagnostic]:
    """Check that CUDA starts, in a process of its own, if NVML lists a card: the two may disagree."""
    if not cards.nvidia:
        return []
    failure = cuda_start.failure()
    if failure is None:
        return [ok("cuda", "CUDA starts.")]
    return [found("cuda_fails", words=failure[0], remedy=failure[1])]


def _driver(driver: str) -> list[Diagnostic]:
    build = torch_build()
    cuda = int(build.cuda.partition(".")[0]) if build is not None and build.cuda else _USUAL_CUDA
    required = missing_driver(cuda, driver)
    return [] if required is None else [found("driver_old", driver=driver, version=cuda, required=required)]


def missing_driver(cuda: int, driver: str) -> str | None:
    """Return the oldest driver for a major version of CUDA if this driver is older."""
    required = _OLDEST_DRIVER.get(cuda)
    return required if required is not None and older(driver, required) else None


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """The version of the installed torch, and of the CUDA that it was built with, None for a build without."""

    version: str
    cuda: str | None


def torch_build(modules: Path | None = None) -> TorchBuild | None:
    """Return the build in the agent's own environment, or in the directory `modules` of another one; None without one.

    Read from a file of torch, since its import takes a second and much memory.
    """
    spec = importlib.util.find_spec("torch") if modules is None else None
    if modules is not None:
        file = modules / "torch" / "version.py"
    elif spec is None or spec.origin is None:
        return None
    else:
        file = Path(spec.origin).with_name("version.py")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return None
    values = dict(re.findall(r"^(__version__|cuda)[^=\n]*= *(?:'([^']*)'|None)", text, flags=re.MULTILINE))
    return TorchBuild(values.get("__version__", ""), values.get("cuda") or None)


def torch(cards: Cards) -> list[Diagnostic]:
    """Check that torch can use the installed GPUs."""
    build = torch_build()
    if build is None or not cards.nvidia:
        return []
    if build.cuda is None:
        return [
            found(
                "torch_without_cuda", version=build.version, command=install_command("--reinstall", "torch")
            )
        ]
    return [ok("torch", f"torch {build.version}, built with CUDA {build.cuda}.")]
