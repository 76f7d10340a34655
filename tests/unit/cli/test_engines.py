"""`aitbc-agent engines`: the real command and the real uv, with an engine of two small wheels from an index of the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nvml_shim.shim
from agent.miner.engines import uv
from agent.miner.engines.environments import EngineDirectory
from miner_support.wheels import Index, build, locked
from nvml_shim.shim import TWO_CARDS, NvmlShim
from support.agents import COMMAND

pytestmark = pytest.mark.system

Done = Any
Run = Callable[..., Any]

LARGE = 120 * 2**20
"""Bytes of a package that a disk of 100 MiB cannot hold."""


@dataclass(frozen=True)
class Workshop:
    """The owner's engine `tiny` in a data directory, and the index that has its wheels."""

    home: Path
    index: Index
    command: Run

    @property
    def engines_dir(self) -> Path:
        return self.home / "engines"

    def publish(self, version: str, *, source: bytes = b"", data: bytes = b"") -> None:
        """Put a version of the engine into the index, and make it the one of the lock file."""
        wheels = [
            build(self.index.directory, "tiny-engine", version, {"tiny_engine.py": source or f"VERSION = {version!r}".encode()}),
            build(self.index.directory, "tiny-part", version, {"tiny_part/__init__.py": b"", "tiny_part/data": data}),
        ]  # fmt: skip
        self.lock("".join(map(locked, wheels)))

    def lock(self, text: str) -> None:
        """Write the lock file."""
        path = self.home / "data/engines/tiny-any.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def declare(
        self,
        size: str = "1Mi",
        *,
        check: str = "import tiny_engine, tiny_part; print(tiny_engine.VERSION)",
        more: str = "",
    ) -> None:
        """Write the owner's catalogue of engines."""
        (self.home / "data").mkdir(exist_ok=True)
        (self.home / "data/engines.toml").write_text(
            '[[engines]]\nname = "tiny"\nservices = []\ndescription = "Does little."\nlicence = "MIT"\n'
            f'modules = ["tiny_engine"]\ncheck = """{check}"""\n'
            f'[engines.variants.any]\npython = ["3.11", "3.12", "3.13"]\npackages = ["tiny-engine"]\nsize = "{size}"\n{more}\n'
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the command as a process of its own, in a process group of its own."""
        return subprocess.Popen(
            [COMMAND, "engines", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> Done:
        """Run the command in this process."""
        return self.command("engines", *words)

    def installed(self) -> dict[str, Any]:
        """Install the engine."""
        done = self.run("install", "tiny", "--json")
        assert done.code == 0, done.err
        (result,) = json.loads(done.out)
        return dict(result)

    def state(self) -> dict[str, Any]:
        """Return the engine as it is listed."""
        done = self.run("list", "--json")
        assert done.code == 0, done.err
        return next(engine for engine in json.loads(done.out) if engine["name"] == "tiny")

    def version(self) -> str:
        """Return the version of the engine in use."""
        program = self.engines_dir / "tiny/current/bin/python"
        command = [program, "-I", "-c", "import tiny_engine; print(tiny_engine.VERSION)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def environments(self) -> list[str]:
        """Return the directories of the environments, complete or not."""
        directory = self.engines_dir / "tiny"
        return sorted(path.name for path in directory.iterdir() if path.is_dir() and not path.is_symlink())

    def declare_for_cards(self) -> None:
        """Write a catalogue in which the engine has packages for cards and for the processor. Its check writes down the card that it has to use."""
        card = self.home / "card"
        packages = 'python = ["3.11", "3.12", "3.13"]\npackages = ["tiny-engine"]\nsize = "1Mi"\n'
        (self.home / "data/engines.toml").write_text(
            '[[engines]]\nname = "tiny"\nservices = []\ndescription = "Does little."\nlicence = "MIT"\nmodules = ["tiny_engine"]\n'
            f"check = \"import os; open('{card}', 'w').write(os.environ.get('AITBC_CARD', 'none'))\"\n"
            f"[engines.variants.cpu]\n{packages}"
            f'[engines.variants.cuda]\n{packages}driver = "580.65"\ncapability = ["7.5", "12.x"]\n'
        )
        lock = (self.home / "data/engines/tiny-any.txt").read_text()
        for name in ("cpu", "cuda"):
            (self.home / f"data/engines/tiny-{name}.txt").write_text(f"# {name}\n{lock}")

    def outcome(self, *words: str) -> tuple[int, str, str]:
        """Run the command as a process of its own, which loads the NVIDIA library of the test. Return its exit status and its output."""
        process = self.begin(*words)
        output, errors = process.communicate(timeout=300)
        return process.returncode, output, errors


def until(condition: Callable[[], Any], seconds: float = 300) -> None:
    """Wait for a state that no event reports: another process's files."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def workshop(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    for name in os.environ:
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    (tmp_path / "wheels").mkdir()
    with Index(tmp_path / "wheels").serving() as index:
        workshop = Workshop(tmp_path, index, run)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AITBC_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("AITBC_ENGINES__DIRECTORY", str(workshop.engines_dir))
        monkeypatch.setenv("UV_FIND_LINKS", index.url)
        monkeypatch.setenv("UV_NO_INDEX", "1")
        workshop.declare()
        workshop.publish("1.0")
        yield workshop


def test_an_engine_is_installed_listed_checked_and_removed(workshop: Workshop) -> None:
    assert workshop.state()["state"] == "no"
    done = workshop.run("install", "tiny")
    assert done.code == 0, done.err
    assert "tiny (any) was installed in" in done.out
    listed = workshop.state()
    assert (listed["state"], listed["variant"]) == ("installed", "any")
    assert listed["packages"] == ["tiny_engine==1.0", "tiny_part==1.0"]
    assert workshop.version() == "1.0"
    assert workshop.run("check").out == "tiny: works\n"
    again = workshop.run("install", "tiny")
    assert "tiny (any) is already in" in again.out
    assert workshop.index.asked["tiny_engine"] == 1
    assert "was removed" in workshop.run("remove", "tiny").out
    assert workshop.environments() == []
    assert workshop.state()["state"] == "no"
    assert "tiny is not installed." in workshop.run("remove", "tiny").err


def test_only_the_lock_files_packages_are_in_the_environment(workshop: Workshop) -> None:
    """Neither packages of the agent nor what a package asks for beyond the lock file."""
    environment = Path(workshop.installed()["path"])
    names = {path.name.partition("-")[0] for path in environment.glob("lib/*/site-packages/*.dist-info")}
    assert names == {"tiny_engine", "tiny_part"}


@pytest.mark.parametrize("whole_group", [False, True], ids=["only the command", "uv too"])
def test_an_installation_killed_half_way_is_continued_and_never_used(
    workshop: Workshop, whole_group: bool
) -> None:
    """One package has arrived, and half of the other. If uv survives, the next installation waits for it."""
    workshop.index.held.add("tiny_part")
    first = workshop.begin("install", "tiny")
    assert workshop.index.waiting.wait(300)
    # uv notes in its index that it has a package after it has unpacked it and linked it there.
    until(lambda: any((workshop.engines_dir / ".packages").glob("wheels-*/**/tiny[-_]engine/*.http")))
    os.killpg(first.pid, signal.SIGKILL) if whole_group else first.kill()
    first.wait()
    assert EngineDirectory(workshop.engines_dir, "tiny").current is None
    state = "partial" if whole_group else "being changed"
    until(lambda: workshop.state()["state"] == state)  # a killed uv has its lock until it has ended
    second = workshop.begin("install", "tiny")
    if not whole_group:
        assert second.stderr is not None
        assert "Another program is installing or removing tiny. Waiting" in second.stderr.readline()
    workshop.index.go_on.set()
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert workshop.version() == "1.0"
    assert workshop.state()["state"] == "installed"
    assert workshop.index.asked["tiny_engine"] == 1, "what had arrived is used"


def test_ctrl_c_ends_the_installation_and_names_the_command_that_continues_it(workshop: Workshop) -> None:
    workshop.index.held.add("tiny_part")
    process = workshop.begin("install", "tiny")
    assert workshop.index.waiting.wait(300)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Run `aitbc-agent engines install tiny` to continue." in errors
    workshop.index.go_on.set()
    assert workshop.installed()["changed"]


def test_two_installations_at_once_wait_for_each_other(workshop: Workshop) -> None:
    workshop.index.held.add("tiny_part")
    first = workshop.begin("install", "tiny")
    assert workshop.index.waiting.wait(300)
    second = workshop.begin("install", "tiny")
    assert second.stderr is not None
    assert "Another program is installing or removing tiny. Waiting" in second.stderr.readline()
    workshop.index.go_on.set()
    outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "was installed in" in outputs[0]
    assert "is already in" in outputs[1]
    assert workshop.index.asked["tiny_engine"] == 1


def test_a_wrong_digest_is_refused_and_the_former_version_stays(workshop: Workshop) -> None:
    workshop.installed()
    workshop.publish("2.0")
    lock = workshop.home / "data/engines/tiny-any.txt"
    digest = lock.read_text().rpartition("sha256:")[2].strip()
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert (
        "aitbc-agent: tiny was not installed: the package tiny-part==2.0 does not have the SHA-256 digest"
        in done.err
    )
    assert "check the package index" in done.err
    assert workshop.version() == "1.0"
    assert len(workshop.environments()) == 1


def test_an_upgrade_is_put_into_use_as_a_whole_and_rolled_back_as_a_whole(workshop: Workshop) -> None:
    old = workshop.installed()
    workshop.publish("2.0")
    assert workshop.state()["state"] == "another version"
    new = workshop.installed()
    assert workshop.version() == "2.0"
    assert workshop.environments() == sorted((old["digest"], new["digest"]))
    assert workshop.run("rollback", "tiny").code == 0
    assert workshop.version() == "1.0"
    assert workshop.run("rollback", "tiny").code == 0
    assert workshop.version() == "2.0"
    workshop.publish("3.0")
    third = workshop.installed()
    assert workshop.environments() == sorted((new["digest"], third["digest"])), "the oldest was deleted"
    assert workshop.index.asked["tiny_engine"] == 3


def test_an_upgrade_that_does_not_work_is_not_used(workshop: Workshop) -> None:
    workshop.installed()
    workshop.publish("2.0", source=b"raise OSError('no such card')")
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert "tiny does not work on this machine: OSError: no such card (exit status 1" in done.err
    assert workshop.version() == "1.0"
    assert len(workshop.environments()) == 1


def test_a_damaged_engine_is_reported(workshop: Workshop) -> None:
    environment = Path(workshop.installed()["path"])
    next(environment.glob("lib/*/site-packages/tiny_part/__init__.py")).write_text("1 / 0")
    done = workshop.run("check")
    assert done.code == 1
    assert "tiny: tiny does not work on this machine: ZeroDivisionError" in done.out


def test_an_engine_whose_python_is_missing_is_installed_again(workshop: Workshop) -> None:
    """As after an upgrade of the system, which replaces the interpreter that the environment links to."""
    environment = Path(workshop.installed()["path"])
    (environment / "bin/python").unlink()
    assert workshop.state()["state"] == "without Python"
    assert workshop.installed()["changed"]
    assert workshop.version() == "1.0"


def test_the_space_is_checked_before_anything_is_fetched(workshop: Workshop) -> None:
    workshop.declare(size="900Ti")
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert "aitbc-agent: tiny takes 921600.0 GiB, and " in done.err
    assert "set engines.directory to a directory on another disk" in done.err
    assert not workshop.index.asked
    assert workshop.environments() == []


def test_an_engine_that_compiles_is_not_downloaded_where_it_could_not_run(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be 12 GiB that fail at the first job."""
    workshop.declare(more="compiles = true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert (
        "tiny was not installed: it compiles code when it runs, and this machine lacks a C compiler"
        in done.err
    )
    assert "Install" in done.err
    assert not workshop.index.asked
    assert workshop.environments() == []


def test_a_check_may_use_the_runners_and_compiles_into_the_cache(workshop: Workshop, tmp_path: Path) -> None:
    """Not into a /tmp that may be noexec, and with the words of the failure that come first."""
    workshop.declare(
        check="import os, runners.code_cache\nraise RuntimeError(os.environ['TRITON_CACHE_DIR'] + ' began' + 900 * ' and went on')"
    )
    failed = workshop.run("install", "tiny", "--data-dir", str(tmp_path / "data"))
    assert failed.code == 1
    assert "/compiled/triton began and went on" in failed.err
    assert f"the whole output is in {workshop.engines_dir}/tiny/check.log" in failed.err


def test_a_lock_file_without_digests_is_refused(workshop: Workshop) -> None:
    workshop.lock("tiny_engine==1.0\ntiny_part==1.0\n")
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert "tiny was not installed: uv failed" in done.err
    assert "hash" in done.err
    assert workshop.environments() == []


@pytest.fixture
def small_disk(workshop: Workshop) -> Iterator[Path]:
    """The directory of engines, on a disk of 100 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    workshop.engines_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", workshop.engines_dir], check=True)
    try:
        yield workshop.engines_dir
    finally:
        subprocess.run(["umount", "--lazy", workshop.engines_dir], check=True)


def test_a_disk_that_becomes_full_is_cleared_and_the_former_version_stays(
    workshop: Workshop, small_disk: Path
) -> None:
    # An engine of this size may take more than the disk holds, so that nothing else ends the installation first.
    workshop.declare(size="20Mi")
    workshop.installed()
    free = os.statvfs(small_disk).f_bavail
    workshop.publish("2.0", source=b"VERSION = '2.0' #" + bytes(2**23), data=bytes(LARGE))
    workshop.index.held.add("tiny_part")
    process = workshop.begin("install", "tiny")
    assert workshop.index.waiting.wait(300)
    until(
        lambda: any(path.stat().st_size > 2**23 for path in small_disk.glob(".packages/*/*/tiny_engine.py"))
    )
    workshop.index.go_on.set()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "tiny was not installed: the disk of" in errors
    assert "became full. What had arrived was deleted." in errors
    assert workshop.version() == "1.0"
    assert len(workshop.environments()) == 1
    assert abs(os.statvfs(small_disk).f_bavail - free) * os.statvfs(small_disk).f_bsize < 2**20


def test_an_endless_package_ends_the_installation_before_it_fills_the_disk(workshop: Workshop) -> None:
    """The digest would only be known at its end."""
    workshop.installed()
    workshop.publish("2.0")
    workshop.index.endless.add("tiny_part")
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert "aitbc-agent: tiny was not installed: the package index sent " in done.err
    assert "instead of 1 MiB. What had arrived was deleted. Check the package index" in done.err
    assert workshop.version() == "1.0"
    assert len(workshop.environments()) == 1
    assert not (workshop.engines_dir / ".packages").exists()


def test_an_endless_list_of_packages_ends_the_installation_before_memory_is_full(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv, "MEMORY", 256 * 2**20)
    workshop.index.endless.add("")
    done = workshop.run("install", "tiny")
    assert done.code == 1
    assert "tiny was not installed: uv took more than 0.2 GiB of memory" in done.err
    assert workshop.environments() == []


def test_a_misspelt_name_gets_a_suggestion(workshop: Workshop) -> None:
    done = workshop.run("install", "tinny")
    assert done.code == 1
    assert "There is no engine 'tinny'. Did you mean tiny?" in done.err


def test_an_invalid_catalogue_names_the_file_and_the_entry(workshop: Workshop) -> None:
    path = workshop.home / "data/engines.toml"
    path.write_text(path.read_text().replace('licence = "MIT"', ""))
    done = workshop.run("list")
    assert done.code == 1
    assert f"{path} is invalid at engines.0.licence: is required" in done.err


@pytest.fixture
def card(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NvmlShim:
    """A machine with a card, as the NVIDIA library reports it to programs that are started."""
    shim = NvmlShim(
        nvml_shim.shim.build(tmp_path / "nvml"), tmp_path / "cards", TWO_CARDS[:1], driver="580.65.06"
    )
    for name in ("LD_LIBRARY_PATH", "NVML_SHIM_FILE"):
        monkeypatch.setenv(name, shim.environment[name])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    workshop.declare_for_cards()
    return shim


def test_an_engine_for_cards_is_checked_on_the_card_that_nvml_shows(
    workshop: Workshop, card: NvmlShim
) -> None:
    code, output, errors = workshop.outcome("install", "tiny")
    assert (code, "tiny (cuda) was installed in" in output) == (0, True), errors
    assert (workshop.home / "card").read_text() == card.cards[0].uuid
    assert workshop.outcome("install", "tiny", "--variant", "cpu")[0] == 0
    assert (workshop.home / "card").read_text() == "none"


def test_a_driver_that_is_too_old_is_named_before_anything_is_fetched(
    workshop: Workshop, card: NvmlShim
) -> None:
    """The owner may install the engine nevertheless, and the environment records that they did."""
    card.driver = "570.86.15"
    card.write()
    code, _, errors = workshop.outcome("install", "tiny")
    assert code == 1
    assert (
        "tiny was not installed. The NVIDIA driver 570.86.15 is too old for tiny: update the driver to 580.65 or newer."
        in " ".join(errors.split())
    )
    assert not workshop.index.asked
    assert workshop.outcome("install", "tiny", "--variant", "cuda")[0] == 0
    current = EngineDirectory(workshop.engines_dir, "tiny").current
    assert current is not None
    assert (current.record.variant, current.record.forced) == ("cuda", True)
    listed = json.loads(workshop.outcome("list", "--json")[1])
    assert next(engine["state"] for engine in listed if engine["name"] == "tiny") == "installed"


def test_on_a_card_that_is_too_old_the_processors_packages_are_installed(
    workshop: Workshop, card: NvmlShim
) -> None:
    card.change(0, capability="6.1")
    code, output, errors = workshop.outcome("install", "tiny")
    assert (code, "tiny (cpu) was installed in" in output) == (0, True), errors
    assert (
        "(NVIDIA GeForce RTX 4090, compute capability 6.1) is too old for tiny, which needs 7.5."
        in " ".join(errors.split())
    )
    assert (workshop.home / "card").read_text() == "none"
