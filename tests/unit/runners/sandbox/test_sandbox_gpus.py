"""What a program gets that computes on a card, and what it gets not."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.api import Device
from runners.python_model import PythonModelRunner
from runners.python_model.request import InferenceRequest
from runners.sandbox import Sandbox, gpus, level
from runners.sandbox.watch import Limits

LIMITS = Limits(memory=512 * 2**20, output=4 * 2**20, seconds=60, cpu_seconds=60, processes=24)
CARD = Device("cuda", "Card", uuid="GPU-1")
PYTHON = "/usr/bin/python3"

NAMING = """
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
static void *idle(void *unused) { pause(); return unused; }
int main(void) {
    pthread_t thread;
    return pthread_create(&thread, 0, idle, 0) || pthread_setname_np(thread, "cuda00001400006");
}
"""
"""libcuda's thread, as `cuInit` makes it: named by the thread that created it."""


def test_several_cards_are_opened_together():
    """A card whose file is unknown needs the files of all."""
    first, second = (
        Device("cuda", "Card", f"GPU-{number}", device_files=(f"nvidia{number}",)) for number in (1, 4)
    )
    assert first.together([second]) == dataclasses.replace(
        first, others=("GPU-4",), device_files=("nvidia1", "nvidia4"), other_buses=(None,)
    )
    assert first.together([second, Device("cuda", "Card", "GPU-5")]).device_files == ()


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def each(tools, request):
    """The tools with each sandbox, and with none."""
    chosen = dataclasses.replace(tools, sandbox=request.param)
    assert level(chosen) == ("none" if request.param == "off" else request.param)
    return chosen


@pytest.fixture(scope="module")
def naming(tmp_path_factory) -> Path:
    """A program that names a thread as CUDA does."""
    path = tmp_path_factory.mktemp("naming") / "naming"
    command = ["gcc", "-pthread", "-x", "c", "-o", str(path), "-"]
    subprocess.run(command, input=NAMING, text=True, check=True, timeout=300)
    return path


def test_a_program_on_a_card_may_name_its_threads(each, naming):
    """Otherwise CUDA does not start, and everything is computed on the processor."""
    sandbox = Sandbox(each, LIMITS, CARD)
    assert sandbox.run([sandbox.program(str(naming))]).exit_code == 0


def test_a_program_on_a_card_cannot_read_about_other_processes(tools):
    """The right to name its threads is one on its own entry of /proc."""
    landlocked = dataclasses.replace(tools, sandbox="landlock")
    command = ["cat", f"/proc/{os.getpid()}/cmdline"]
    outcome = Sandbox(landlocked, LIMITS, CARD).run(command)
    assert (outcome.exit_code, "Permission denied" in outcome.stderr) == (1, True)


@pytest.mark.ship
@pytest.mark.skipif(not os.access("/proc/sys/vm/drop_caches", os.W_OK), reason="needs root")
def test_a_program_can_name_its_threads_also_after_memory_was_short(tools, naming, tmp_path):
    """The kernel then replaces the entries of /proc that nobody has open, and the rule would be for one of the past."""
    sandbox = Sandbox(dataclasses.replace(tools, sandbox="landlock"), LIMITS, CARD)
    program, directory = sandbox.program(str(naming)), sandbox.write(tmp_path, "/work")

    def free_memory(line: str) -> None:
        # The shell's own entry is held by the sandbox, so the end is seen from that of a process which it started.
        entry = Path(f"/proc/{line}")
        number = entry.stat().st_ino
        while entry.stat().st_ino == number:
            Path("/proc/sys/vm/drop_caches").write_text("2")
        (tmp_path / "freed").touch()

    script = f"sleep 60 & echo $!; until [ -e freed ]; do sleep 0.05; done; kill $!; exec {program}"
    assert sandbox.run(["sh", "-c", script], directory=directory, on_line=free_memory).exit_code == 0


FILES = (
    "nvidiactl",
    "nvidia-uvm",
    "nvidia0",
    "nvidia1",
    "nvidia-caps/nvidia-cap3",
    "nvidia-caps/nvidia-cap4",
)
"""The device files of two cards, the second one with two instances."""

VIDEO = 44
"""The group for which Debian's driver creates them."""


@pytest.fixture
def two_cards(monkeypatch) -> Iterator[Path]:
    """Stand-ins for the files of two cards, which only root and the group video can open."""
    # Outside of pytest's own directories, which are closed to the users of sandboxed programs.
    with tempfile.TemporaryDirectory(prefix="aitbc-devices-") as name:
        directory = Path(name)
        (directory / "nvidia-caps").mkdir()
        directory.chmod(0o755)
        for file in FILES:
            (directory / file).touch()
            (directory / file).chmod(0o660)
            if os.geteuid() == 0:
                os.chown(directory / file, 0, VIDEO)
        monkeypatch.setattr(gpus, "DEVICES", directory)
        yield directory


LOOKING = """
import os
def predict(_input, devices, names):
    del os.environ["CUDA_VISIBLE_DEVICES"]
    opened = []
    for name in names:
        try: os.close(os.open(f"{devices}/{name}", os.O_RDWR))
        except OSError: continue
        opened.append(name)
    return opened
"""
"""A client's model that looks for cards, without the variable that restrains CUDA."""


@pytest.mark.parametrize(
    ("own", "opened"),
    [
        (("nvidia0",), FILES[:3]),
        (("nvidia1", "nvidia-caps/nvidia-cap4"), (*FILES[:2], "nvidia1", "nvidia-caps/nvidia-cap4")),
        ((), FILES),
    ],
    ids=["card", "instance", "unknown"],
)
def test_a_model_opens_no_other_card(confined, two_cards, make_context, tmp_path, own, opened):
    """Unless the driver does not say which files are those of its card."""
    (tmp_path / "model.py").write_text(LOOKING)
    devices = "/dev" if level(confined) == "bubblewrap" else str(two_cards)
    runner = PythonModelRunner(
        dataclasses.replace(confined, python_models_in_landlock=True),
        dataclasses.replace(CARD, device_files=own),
    )
    request = {"model": {"entrypoint": "model.py"}, "parameters": {"devices": devices, "names": list(FILES)}}
    context = make_context({"model.source": tmp_path / "model.py"})
    result = runner.run(InferenceRequest.model_validate(request), context)
    assert result.results["value"] == list(opened)


def test_in_wsl_the_one_device_file_is_opened(confined, two_cards):
    for name in FILES:
        (two_cards / name).unlink()
    (two_cards / "dxg").touch()
    (two_cards / "dxg").chmod(0o666)
    devices = "/dev" if level(confined) == "bubblewrap" else str(two_cards)
    command = ["sh", "-c", f"exec 3<> {devices}/dxg"]
    assert Sandbox(confined, LIMITS, CARD).run(command).exit_code == 0
    assert Sandbox(confined, LIMITS, Device("cpu", "processor")).run(command).exit_code != 0


@pytest.fixture
def driver(tmp_path, monkeypatch) -> Path:
    """A directory with a driver's library, as NixOS has it, that is not in the loader's list."""
    store, directory = tmp_path / "store", tmp_path / "driver"
    for path in (store, directory):
        path.mkdir()
    for name in ("libcuda.so.570", "libjit.so.1"):
        command = ["gcc", "-shared", "-x", "c", "-o", str(store / name), "-"]
        subprocess.run(command, input="int cuInit(void) { return 0; }", text=True, check=True, timeout=300)
    (directory / "libcuda.so.1").symlink_to(store / "libcuda.so.570")
    (directory / "libjit.so.1").symlink_to(store / "libjit.so.1")
    monkeypatch.setattr(gpus, "LOADER_CACHE", tmp_path / "ld.so.cache")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return directory


LOADING = "import ctypes, sys\nfor name in sys.argv[1:]: ctypes.CDLL(name)"


def loads(tools, *names: str, environment: dict[str, str] | None = None, device: Device = CARD) -> bool:
    """Return whether a program can load these libraries by name."""
    sandbox = Sandbox(tools, LIMITS, device, environment or {})
    outcome = sandbox.run([PYTHON, "-I", "-c", LOADING, *names])
    assert outcome.exit_code == 0 or "cannot open shared object file" in outcome.stderr, outcome.stderr
    return outcome.exit_code == 0


def test_a_program_finds_the_drivers_libraries_of_the_agent(each, driver, tmp_path, monkeypatch):
    """From its LD_LIBRARY_PATH only the driver's directory, and only for a program on a card."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(driver / "libjit.so.1", other / "libother.so.1")
    # A directory that cannot be looked into does no harm.
    monkeypatch.setenv("LD_LIBRARY_PATH", f"relative:/{'x' * 300}:{other}:{driver}")
    assert loads(each, "libcuda.so.1", "libjit.so.1")
    assert loads(each, "libcuda.so.1", environment={"LD_LIBRARY_PATH": "/usr/lib"})
    assert not loads(each, "libother.so.1")
    assert not loads(each, "libcuda.so.1", device=Device("cpu", "processor"))


def test_a_program_finds_a_driver_in_one_of_the_usual_directories(each, driver, monkeypatch):
    """Unless the loader finds one by itself, which may be another version than what was left there."""
    monkeypatch.setattr(gpus, "DRIVER_DIRECTORIES", (str(driver),))
    assert loads(each, "libcuda.so.1")
    gpus.LOADER_CACHE.write_bytes(b"\0/usr/lib/libcuda.so.1\0")
    assert not loads(each, "libcuda.so.1")
