"""The doctor's checks of files, the machine and engines, each in the state that it detects."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.miner import doctor
from agent.miner.doctor import _engines, _machine
from agent.miner.doctor._machine import Cards, has_wal_reset_bug
from agent.miner.engines.catalogue import load_engines
from agent.miner.engines.environments import EngineDirectory, EngineRecord
from agent.miner.machine import capabilities, hardware
from agent.miner.machine.gpus import DRIVER_MISSING, Gpu
from agent.miner.settings import EnginesSettings
from agent.settings import Settings
from cuda_shim.shim import build
from cuda_shim.states import OLD_FOR_13, STATES, State
from miner_support.examined import examined
from runners import c_compiler
from runners.api import Probe, Tools
from runners.ffmpeg import FFmpegRunner

CARD = Gpu(
    "GPU-1", 0, "NVIDIA GeForce RTX 4090", 24 * 2**30, 24 * 2**30, "8.9", "570.86.15", 0, 40, 60.0, 450.0
)


class SilentRunner(FFmpegRunner):
    """A runner that works everywhere, so that these tests need no engine."""

    @classmethod
    def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
        return Probe(available=True, version="1", reasons=("A GPU would be faster.",))


@pytest.fixture(autouse=True)
def runners(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The installed runners; tests change them."""
    offered: dict[str, Any] = {"video_transcoding": SilentRunner}
    monkeypatch.setattr(capabilities, "installed", lambda: offered)
    return offered


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def test_a_healthy_machine_has_no_fault(data_dir: Path):
    started = time.monotonic()
    diagnostics = examined(data_dir)
    assert time.monotonic() - started < 60
    assert [diagnostic for diagnostic in diagnostics.values() if diagnostic.severity == "fault"] == []
    assert {"python", "secrets", "disk_data", "disk_models", "memory", "ffmpeg", "ffprobe"} <= set(
        diagnostics
    )
    assert {"sandbox", "models", "agent", "coordinator", "video_transcoding"} <= set(diagnostics)
    assert diagnostics["video_transcoding"].message == "video_transcoding is offered. A GPU would be faster."


def test_a_directory_that_other_users_may_read_is_reported(data_dir: Path):
    data_dir.chmod(0o755)
    assert examined(data_dir)["data_directory_open"].remedy == f"Run: chmod 700 {data_dir}"


def test_a_missing_directory_that_can_be_created_is_no_problem(data_dir: Path):
    assert "data_directory_unwritable" not in examined(data_dir / "new" / "one")
    assert not (data_dir / "new").exists()


def test_a_directory_that_cannot_be_written_is_a_fault():
    directory = Path("/proc/no-such-directory")
    diagnostics = examined(directory, models_dir=directory)
    assert diagnostics["data_directory_unwritable"].message.startswith("/proc cannot be written")
    assert diagnostics["models_unwritable"].message.startswith("No models can be fetched into /proc")


@pytest.mark.parametrize(
    ("file_system", "kind"),
    [
        ("nfs4", "data_directory_on_network"),
        ("cifs", "data_directory_on_network"),
        ("fuse.sshfs", "data_directory_on_network"),
        ("overlay", "data_directory_temporary"),
        ("ext4", "data_directory"),
    ],
)
def test_a_file_system_unsuitable_for_databases_is_reported(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: str, kind: str
):
    """The nearest mount is used, and of two on one directory the later one."""
    mounts = tmp_path / "mounts"
    lines = [
        f"disk {path} {kind} rw 0 0"
        for path, kind in (("/", "tmpfs"), (data_dir, "tmpfs"), (data_dir, file_system))
    ]
    mounts.write_text("\n".join(lines))
    monkeypatch.setattr("agent.miner.sealing.directory.MOUNTS", mounts)
    assert kind in examined(data_dir)


@pytest.mark.parametrize(
    "name",
    [
        "miner/identity.key",
        "coordinator/log.key",
        "coordinator/keys.json",
        "agent.json",
        "miner/api_key.json",
    ],
)
def test_secrets_that_other_users_may_read_are_reported(data_dir: Path, name: str):
    secret = data_dir / name
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("{}")
    secret.chmod(0o640)
    assert examined(data_dir)["secrets_readable"].remedy == f"Run: chmod 600 {secret}"
    secret.chmod(0o600)
    assert "secrets" in examined(data_dir)


@pytest.mark.parametrize(
    ("free", "kind"), [(2**30 - 1, "disk_full"), (2**30, "disk_low"), (10 * 2**30, "disk_data")]
)
def test_the_limits_of_free_disk_space(data_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: str):
    usage = psutil.disk_usage(str(data_dir))
    monkeypatch.setattr(psutil, "disk_usage", lambda _path: usage._replace(free=free))
    assert kind in examined(data_dir)


def test_little_memory_is_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hardware, "memory_total", lambda: 2 * 2**30)
    assert "2.0 GiB of memory" in examined(data_dir)["memory_low"].message


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((3, 50, 7), False),
        ((3, 44, 6), False),
        ((3, 44, 9), False),
        ((3, 51, 2), True),
        ((3, 51, 0), True),
        ((3, 50, 6), True),
        ((3, 49, 9), True),
        ((3, 45, 0), True),
        ((3, 44, 5), True),
    ],
)
def test_sqlite_versions_with_the_wal_bug_are_recognised(version: tuple[int, ...], faulty: bool):
    assert has_wal_reset_bug(version) is faulty


def test_the_version_of_sqlite_in_use_is_checked(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """A version with the bug is no warning, since the agent prevents its effect."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert "only while it is stopped" not in examined(data_dir)["sqlite"].message
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    diagnostic = examined(data_dir)["sqlite"]
    assert (diagnostic.severity, "only while it is stopped" in diagnostic.message) == ("ok", True)


def test_a_gpu_without_a_driver_is_distinguished_from_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The PCI bus lists devices with or without a driver."""
    monkeypatch.setattr(_machine, "_PCI", tmp_path)
    for name, vendor, kind in (
        ("0000:00:02.0", "0x8086", "0x030000"),
        ("0000:01:00.1", "0x10de", "0x040300"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (only,) = _machine.gpus(Cards((), DRIVER_MISSING))
    assert (only.id, only.severity) == ("gpu", "ok")
    (tmp_path / "0000:01:00.1/class").write_text("0x030000\n")
    (only,) = _machine.gpus(Cards((), DRIVER_MISSING))
    assert (only.id, "PCI 0000:01:00.1" in only.message) == ("driver_missing", True)
    assert "apt-get install nvidia-driver" in (only.remedy or "")


@pytest.mark.parametrize(
    ("cuda", "driver", "old"),
    [
        (None, "525.60.13", False),
        (None, "525.59.99", True),
        ("12.8", "470.256.02", True),
        ("13.0", "575.64", True),
        ("13.0", "580.65.06", False),
        ("14.1", "470.1", False),
    ],
)
def test_the_driver_must_support_the_cuda_version_of_the_engines(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, driver: str, old: bool
):
    monkeypatch.setattr(_machine, "torch_build", lambda: _machine.TorchBuild("2.9", cuda))
    kinds = {diagnostic.id for diagnostic in _machine._driver(driver)}
    assert kinds == ({"driver_old"} if old else set())


def test_a_machine_without_the_device_file_of_cuda_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a machine without a display nothing creates it; WSL has another one."""
    monkeypatch.setattr(_machine, "torch_build", lambda: None)
    monkeypatch.setattr(_machine, "_installed", lambda _path: [])
    for device in ("_UVM", "_WSL"):
        monkeypatch.setattr(_machine, device, tmp_path / device)
    reported = {diagnostic.id: diagnostic for diagnostic in _machine.gpus(Cards((CARD,), None))}
    assert "sudo nvidia-modprobe -c0 -u" in (reported["uvm_missing"].remedy or "")
    assert "uvm_missing" not in {diagnostic.id for diagnostic in _machine.gpus(Cards((), None))}
    for device in ("_UVM", "_WSL"):
        (tmp_path / device).touch()
        assert "uvm_missing" not in {diagnostic.id for diagnostic in _machine.gpus(Cards((CARD,), None))}
        (tmp_path / device).unlink()


def test_a_card_that_one_process_at_a_time_can_use_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_machine, "torch_build", lambda: None)
    monkeypatch.setattr(_machine, "_installed", lambda _path: [])
    for exclusive in (False, True):
        diagnostics = _machine.gpus(Cards((replace(CARD, exclusive=exclusive),), None))
        assert ("gpu_exclusive" in {diagnostic.id for diagnostic in diagnostics}) == exclusive


def test_the_build_of_torch_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A build with CUDA passes, one without does not, and a missing torch is not checked."""
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(
        sys.modules, "torch", raising=False
    )  # other tests in this process may have imported it
    version = "from typing import Optional\n__version__ = '{}'\ncuda: Optional[str] = {}\ngit_version = 'x'\n"
    (package / "version.py").write_text(version.format("2.9.0+cu128", "'12.8'"))
    cards = Cards((CARD,), None)
    assert _machine.torch_build() == _machine.TorchBuild("2.9.0+cu128", "12.8")
    assert [diagnostic.id for diagnostic in _machine.torch(cards)] == ["torch"]
    (package / "version.py").write_text(version.format("2.9.0+cpu", "None"))
    assert [diagnostic.id for diagnostic in _machine.torch(cards)] == ["torch_without_cuda"]
    assert _machine.torch(Cards((), None)) == []


def test_missing_programs_are_reported_with_their_setting(data_dir: Path):
    diagnostics = examined(
        data_dir,
        runners={"ffmpeg": "/nowhere/ffmpeg", "sandbox": "bubblewrap", "bubblewrap": "/nowhere/bwrap"},
    )
    assert diagnostics["ffmpeg_missing"].message == "/nowhere/ffmpeg was not found."
    assert "runners.ffmpeg" in (diagnostics["ffmpeg_missing"].remedy or "")
    assert "runners.bubblewrap" in (diagnostics["sandbox_missing"].remedy or "")


def test_a_bubblewrap_without_namespaces_is_distinguished_from_a_missing_one(data_dir: Path, tmp_path: Path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    diagnostic = examined(data_dir, runners={"sandbox": "bubblewrap", "bubblewrap": str(program)})[
        "sandbox_forbidden"
    ]
    assert "No permissions to create a new namespace" in (diagnostic.remedy or "")
    assert "user namespaces" in (diagnostic.remedy or "")


def test_the_weaker_sandbox_is_reported_unless_it_was_chosen(data_dir: Path):
    weaker = examined(data_dir, runners={"bubblewrap": "/nowhere/bwrap"})
    assert "runners.bubblewrap" in (weaker["sandbox_weaker"].remedy or "")
    assert "sandbox_missing" not in weaker
    chosen = examined(data_dir, runners={"sandbox": "landlock"})
    assert "sandbox_weaker" not in chosen
    assert "landlock" in chosen["sandbox"].message


def test_a_disabled_sandbox_is_reported(data_dir: Path):
    assert "sandbox_off" in examined(data_dir, runners={"sandbox": "off"})


def test_services_that_are_not_offered_are_reported_with_reasons(data_dir: Path, runners: dict[str, Any]):
    class Broken(SilentRunner):
        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            return Probe(available=False, reasons=("The engine is missing; install it.",))

    runners["other_service"] = Broken
    diagnostics = examined(data_dir)
    unavailable = diagnostics["service_unavailable"]
    assert (unavailable.message, unavailable.remedy) == (
        "other_service is not offered.",
        "The engine is missing; install it.",
    )
    assert "no_service" not in diagnostics
    del runners["video_transcoding"]
    assert "no_service" in examined(data_dir)


def test_a_check_that_hangs_or_fails_affects_only_itself(
    data_dir: Path, runners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    release = threading.Event()
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 5.0)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(_engines, "sandbox_fault", lambda _tools: release.wait(60))
    runners["video_transcoding"] = "not a runner"
    try:
        diagnostics = examined(data_dir)
    finally:
        release.set()
    assert diagnostics["check_slow"].message == "The check 'sandbox' did not end within 5 s."
    assert diagnostics["check_broken"].message.startswith("The check 'services' failed (AttributeError")
    assert diagnostics["disk_data"].message


def test_a_service_is_reported_whose_probe_is_slow_and_a_busy_machine_gets_more_time(
    data_dir: Path, runners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    release = threading.Event()

    class Slow(SilentRunner):
        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            release.wait(60)
            return Probe(available=True)

    runners["other_service"] = Slow
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(doctor, "cpu_cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (40.0, 0.0, 0.0))
    try:
        diagnostics = examined(data_dir)
    finally:
        release.set()
    unavailable = diagnostics["service_unavailable"]
    assert unavailable.message == "other_service is not offered."
    assert "did not end within 2 s. This machine is busy (load 40 on " in unavailable.remedy
    assert "video_transcoding" in diagnostics, "the other services are reported"


def test_models_on_disk_are_listed(data_dir: Path):
    assert "downloaded when a job needs them" in examined(data_dir)["models"].message
    assert "models_missing" in examined(data_dir, runners={"model_download": False})
    model = data_dir / "models" / "tiny.en"
    model.mkdir(parents=True)
    (model / "model.bin").touch()
    assert examined(data_dir)["models"].message.endswith(": tiny.en.")
    (data_dir / "models.toml").write_text("[[models]]\nname = '../x'\n")
    diagnostics = examined(data_dir)
    assert "models.toml is invalid at models.0.name" in diagnostics["catalogue_wrong"].message
    assert "video_transcoding" in diagnostics


def test_the_states_of_engines_are_reported(data_dir: Path):
    """Installed ones, an interrupted installation, another version than the lock file's, and one without its Python."""
    engines = load_engines()
    settings = {"engines": EnginesSettings(directory=data_dir / "engines")}
    assert "engines" not in examined(data_dir, **settings)

    def installed(name: str, digest: str) -> Path:
        variant = engines[name].variant(cuda=False)
        directory = EngineDirectory(data_dir / "engines", name)
        (directory.environment(digest) / "bin").mkdir(parents=True)
        python = directory.environment(digest) / "bin/python"
        python.symlink_to(sys.executable)
        directory.complete_with(EngineRecord(name, variant.name, digest, "3.11", 1, (), 0))
        directory.use(digest)
        return python

    installed("faster-whisper", engines["faster-whisper"].variant(cuda=False).digest())
    installed("llama.cpp", "older")
    installed("bpy", engines["bpy"].variant(cuda=False).digest()).unlink()
    (data_dir / "engines/vllm/half").mkdir(parents=True)
    diagnostics = examined(data_dir, **settings)
    assert diagnostics["engines"].message == "Engines in environments of their own: faster-whisper (cpu)."
    assert "engines install llama.cpp" in (diagnostics["engine_of_another_version"].remedy or "")
    assert "engines install bpy" in (diagnostics["engine_without_python"].remedy or "")
    assert "engines remove vllm" in (diagnostics["engine_partial"].remedy or "")
    (data_dir / "engines.toml").write_text("[[engines]]\nname = '../x'\n")
    assert (
        "engines.toml is invalid at engines.0.name" in examined(data_dir, **settings)["engines_wrong"].message
    )


def use_engine(engines_dir: Path, name: str, variant: str) -> None:
    """Put an environment of an engine into use, without its packages."""
    directory, digest = EngineDirectory(engines_dir, name), load_engines()[name].variants[variant].digest()
    environment = directory.environment(digest)
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(sys.executable)
    directory.complete_with(EngineRecord(name, variant, digest, "3.11", 1, (), 0))
    directory.use(digest)


def test_an_engine_whose_compiler_was_removed_is_reported(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    use_engine(data_dir / "engines", "vllm", "cuda")
    engines = EnginesSettings(directory=data_dir / "engines")
    lack = c_compiler.Lack("a C compiler (gcc or clang)", "Install it: sudo apt-get install gcc")
    monkeypatch.setattr(c_compiler, "lack", lambda _python: lack)
    reported = examined(data_dir, engines=engines)["engine_without_compiler"]
    assert (
        reported.message
        == "The engine vllm compiles code when it runs, and this machine lacks a C compiler (gcc or clang)."
    )
    assert reported.remedy == "Install it: sudo apt-get install gcc"
    monkeypatch.setattr(c_compiler, "lack", lambda _python: None)
    assert "engine_without_compiler" not in examined(data_dir, engines=engines)


@pytest.mark.parametrize(
    ("variant", "cards", "free", "reported"),
    [
        ("cuda", 1, 64, False),
        ("cuda", 2, 64, True),
        ("cuda", 2, 1024, False),
        ("cpu", 0, 64, True),
        ("cpu", 0, 256, False),
    ],
)
def test_shared_memory_is_checked_where_vllm_needs_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, variant: str, cards: int, free: int, reported: bool
):
    """In MiB: 64 are what a container has. One card needs none."""
    use_engine(data_dir / "engines", "vllm", variant)
    settings = Settings(data_dir=data_dir, engines=EnginesSettings(directory=data_dir / "engines"))
    usage = shutil.disk_usage(data_dir)._replace(free=free * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    diagnostics = _engines.shared_memory(settings, Cards((CARD,) * cards, None))
    assert [diagnostic.id for diagnostic in diagnostics] == (["shared_memory_small"] if reported else [])
    assert all("--shm-size=1g" in (diagnostic.remedy or "") for diagnostic in diagnostics)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_cache_from_which_nothing_can_be_loaded_is_reported(data_dir: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", cache], check=True, timeout=300)
    try:
        reported = examined(data_dir, cache_dir=cache)["directory_noexec"]
    finally:
        subprocess.run(["umount", "--lazy", cache], check=True, timeout=300)
    assert (
        reported.message
        == f"{cache} is mounted noexec, so code that engines compile cannot be loaded from it."
    )
    assert "cache_dir" in (reported.remedy or "")
    assert "directory_noexec" not in examined(data_dir, cache_dir=cache)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cuda")
    build(directory)
    return directory


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_card_on_which_cuda_does_not_start_is_reported_with_what_to_do(
    state: State, library: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in state.environment(library).items():
        monkeypatch.setenv(name, value)
    (only,) = _machine.cuda(Cards((CARD,), None))
    assert (only.id, only.severity) == ("cuda_fails", "warning")
    assert f"CUDA error {state.init}: " in only.message
    assert state.remedy in (only.remedy or "")


def test_cuda_that_starts_or_is_not_there_is_distinguished(library: Path, monkeypatch: pytest.MonkeyPatch):
    assert _machine.cuda(Cards((), DRIVER_MISSING)) == []
    (missing,) = _machine.cuda(Cards((CARD,), None))
    assert "libcuda.so.1" in missing.message
    assert "apt-get install libcuda1" in (missing.remedy or "")
    for name, value in OLD_FOR_13.environment(library).items():
        monkeypatch.setenv(name, value)
    (starts,) = _machine.cuda(Cards((CARD,), None))
    assert (starts.id, starts.severity) == ("cuda", "ok")


def test_the_versions_of_an_engines_environment_are_compared_with_the_driver(data_dir: Path):
    """Those that this agent declares, and of an owner's or an older environment those that are in it."""
    settings = Settings(data_dir=data_dir, engines=EnginesSettings(directory=data_dir / "engines"))
    cards = Cards((CARD,), None)

    def installed(name: str, *packages: str, torch: str = "") -> list[str]:
        digest = load_engines()[name].variants["cuda"].digest()
        directory = EngineDirectory(data_dir / "engines", name)
        environment = directory.environment(digest)
        (environment / "lib/python3.11/site-packages/torch").mkdir(parents=True)
        (environment / "bin").mkdir()
        (environment / "bin/python").symlink_to(sys.executable)
        if torch:
            version = environment / "lib/python3.11/site-packages/torch/version.py"
            version.write_text(f"__version__ = '2.14.0'\ncuda: Optional[str] = '{torch}'\n")
        directory.complete_with(EngineRecord(name, "cuda", digest, "3.11", 1, packages, 0))
        directory.use(digest)
        found = _engines.engines(settings, cards)
        assert all(item.severity == "warning" for item in found if item.id == "engine_unsuitable")
        return [
            item.message for item in found if item.id == "engine_unsuitable" and f" {name} " in item.message
        ]

    (declared,) = installed("vllm", torch="13.0")
    assert (
        "The NVIDIA driver 570.86.15 is too old for vllm: update the driver to 580.65 or newer." in declared
    )
    assert installed("faster-whisper", "nvidia_cublas_cu12==12.9.1") == []
    # The declaration allows this driver, and what is in the environment does not.
    (newer,) = installed("onnx-asr", "nvidia_cublas_cu13==13.0.1")
    assert "Its environment is for CUDA 13, and the NVIDIA driver 570.86.15 is too old" in newer
    works = next(item.message for item in _engines.engines(settings, cards) if item.id == "engines")
    assert "vllm (cuda, torch 2.14.0, CUDA 13)" in works
    assert "faster-whisper (cuda, CUDA 12)" in works
    assert [
        item for item in _engines.engines(settings, Cards((), None)) if item.id == "engine_unsuitable"
    ] == []
