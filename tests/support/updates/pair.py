"""Two versions of `fake_agent`: one that its owner has installed, and one that is installed as an update."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from agent import fault_points
from agent.updates.directory import RECORD, VersionsDirectory
from agent.updates.launcher import BASE_FILE, BASE_VERSION_FILE
from agent.updates.states import Phase, UpdateState

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("fake_agent.py")
OLD, NEW = "1.0.0", "2.0.0"
SECONDS = 180


class Pair:
    """Both versions, and the processes that run them."""

    def __init__(self, directory: Path, behaviour: str = "good") -> None:
        self.base = directory / "base"
        self.data = directory / "data"
        self.plan = directory / "plan"
        self.versions = VersionsDirectory(self.data / "versions")
        self.versions.path.mkdir(parents=True)
        (self.data / "database").write_text("1")
        _environment(self.base, OLD, "good")
        self.install(NEW, behaviour)
        self.process: subprocess.Popen[bytes] | None = None

    def install(self, version: str, behaviour: str = "good") -> None:
        """Install a version as an update would."""
        path = self.versions.path / version
        _environment(path, version, behaviour)
        (path / BASE_FILE).write_text(f"{self.base}\n")
        (path / BASE_VERSION_FILE).write_text(f"{OLD}\n")
        (path / RECORD).write_text("{}")

    def prepare(self, version: str = NEW, former: str = OLD) -> None:
        """Have a version wait, which the running program makes due."""
        self.versions.write(self.state.prepare(version, former).prepared())

    def start(self, plan: str = "", **variables: str) -> None:
        """Start the installed program. `plan` is one of `agent.fault_points`."""
        self.plan.write_text(plan)
        (self.data / "working").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [self.base / "bin/aitbc-agent", "start", "--data-dir", self.data],
            env={**os.environ, fault_points.VARIABLE: str(self.plan), **variables},
            stdin=subprocess.DEVNULL,
        )

    def begin(self, plan: str = "", **variables: str) -> None:
        """Start the old version, which works, and then has the new one take over."""
        self.start(plan, **variables)
        self.wait(lambda: self.working() is not None, "the old version does not work")
        self.prepare()

    @property
    def state(self) -> UpdateState:
        return self.versions.read()

    @property
    def done(self) -> str:
        """What the plan has done."""
        path = self.plan.with_name("plan.done")
        return path.read_text() if path.exists() else ""

    @property
    def events(self) -> list[str]:
        return (self.data / "events").read_text().splitlines()

    def working(self) -> tuple[str, int] | None:
        """The version that works, and its process; None if none does."""
        try:
            version, process_id = (self.data / "working").read_text().split()
        except (OSError, ValueError):
            return None
        return (version, int(process_id)) if _works(int(process_id)) else None

    def versions_current(self) -> str:
        """The version that the launcher starts."""
        link = self.versions.path / "current"
        return link.readlink().name if link.is_symlink() else OLD

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.state}, {self.events}"
            time.sleep(0.01)

    def wait_for_work(self, version: str | None = None) -> str:
        """Wait until the update has ended and a version works. Return it."""

        def settled() -> bool:
            worker = self.working()
            return self.state.phase is Phase.IDLE and worker is not None and version in {None, worker[0]}

        self.wait(settled, f"no work by {version or 'any version'}")
        worker = self.working()
        assert worker is not None
        return worker[0]

    def begun(self) -> list[int]:
        """The processes that have begun, are alive and do not supervise another one."""
        numbers = {int(line.split()[1]) for line in self.events if line.endswith("begins")}
        return [number for number in numbers if _works(number)]

    def stop(self) -> int:
        """Stop the program as its owner does. Return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """End all processes."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        if (self.data / "events").exists():
            for number in self.begun():
                os.kill(number, signal.SIGKILL)


def _works(process_id: int) -> bool:
    process = Path("/proc", str(process_id))
    try:
        is_alive = (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return is_alive and b"agent.updates.supervisor" not in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _environment(path: Path, version: str, behaviour: str) -> None:
    """Create what Python takes for an environment: with this project's modules, which think that they are of that version."""
    modules = path / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    modules.mkdir(parents=True)
    (path / "bin").mkdir()
    python = path / "bin/python"
    python.symlink_to(Path(sys.executable).resolve())
    (path / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    (modules / "project.pth").write_text(f"{ROOT}\n")
    (modules / "sitecustomize.py").write_text(f"import agent\nagent.__version__ = {version!r}\n")
    (path / "behaviour").write_text(behaviour)
    program = path / "bin/aitbc-agent"
    program.write_text(f"#!{python}\nimport runpy\nrunpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n")
    program.chmod(0o755)
