"""Agents that update themselves from a mirror while they work: no job fails, and a version that does not work does not stay."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import __version__, fault_points
from support.agents import Agent, environment_of_programs, running
from support.servers.ports import reserved_port
from support.updates.load import Load
from support.updates.releases import PUBLIC_KEY, Files, Mirror, renumbered, replaced
from support.versions.installed import FORMER, ROOT, THIS, Installed, installed

pytestmark = pytest.mark.acceptance

MAJOR, MINOR, PATCH = __version__.split(".")
NEXT = f"{MAJOR}.{MINOR}.{int(PATCH) + 1}"
LOCK = ROOT / "scripts/releasing/requirements.txt"
SECONDS = 900
WHEELS = {"aitbc": "aitbc-[0-9]*.whl", "aitbc-agent": "aitbc_agent-*.whl"}


@dataclass(frozen=True)
class Stage:
    """An agent that its owner installed by pip, and the mirror of its operator."""

    base: Installed
    mirror: Mirror
    index: str
    directory: Path
    port: int

    def release(self, change: Callable[[Files], None] = lambda _files: None) -> None:
        """Publish the next version: this one with another number, changed by `change`."""
        wheels = {
            name: renumbered(
                next(self.base.wheels.glob(pattern)),
                NEXT,
                change if name == "aitbc-agent" else lambda _: None,
            )
            for name, pattern in WHEELS.items()
        }
        self.mirror.add(NEXT, wheels, LOCK.read_text())

    def agent(self) -> Agent:
        agent = Agent(self.directory / "data", "start", "--port", str(self.port))
        agent.program = self.base.agent
        return agent

    def configure(self, agent: Agent, *lines: str) -> None:
        agent.data_dir.mkdir(exist_ok=True)
        (agent.data_dir / "agent.toml").write_text(
            "\n".join(["[updates]", f'index = "{self.index}"', f'public_keys = ["{PUBLIC_KEY}"]', *lines, ""])
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    mirror = Mirror(tmp_path / "mirror")
    with mirror.served() as index, reserved_port() as port:
        yield Stage(installed(THIS), mirror, index, tmp_path, port)


def command(agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [agent.program, *arguments, "--data-dir", agent.data_dir],
        env=environment_of_programs(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def version(agent: Agent) -> str:
    """The version that the running agent says it is."""
    return str(json.loads(command(agent, "status", "--json").stdout)["miner"]["update"]["version"])


def test_from_0_2_0_to_this_version_to_the_next_and_back(stage: Stage) -> None:
    """Under load, with the coordinator in the same process: by reinstalling, by `update`, and by `--rollback`. No job fails."""
    agent = stage.agent()
    agent.program = installed(FORMER).agent
    stage.release()
    with running(agent), Load(agent, stage.directory) as load:
        load.wait_for(2)
        assert agent.stop() == 0
        agent.program = stage.base.agent
        stage.configure(agent)
        agent.start()
        load.wait_for(2)
        assert f"Version {NEXT} can be installed" in command(agent, "update", "--check").stdout
        assert agent.process is not None
        process_id = agent.process.pid

        done = command(agent, "update")
        assert done.returncode == 0, done.stderr + agent.log.read_text()[-4000:]
        assert version(agent) == NEXT
        assert command(agent, "update", "--check").stdout == f"Version {NEXT} is the newest.\n"
        load.wait_for(2)

        done = command(agent, "update", "--rollback")
        assert done.returncode == 0, done.stderr + agent.log.read_text()[-4000:]
        assert version(agent) == THIS
        load.wait_for(2)
        assert agent.process.pid == process_id
        assert agent.process.poll() is None
    assert load.failures == []


def crash(files: Files) -> None:
    name = "agent/cli/commands/running/serve.py"
    files[name] = replaced(
        files[name],
        "async def _start(",
        "raise SystemExit('This version does not start.')\n\n\nasync def _start(",
    )


def never_register(files: Files) -> None:
    name = "agent/miner/daemon.py"
    files[name] = replaced(
        files[name], "        registering = asyncio.create_task(self._parts.link.register()",
        "        await asyncio.Event().wait()\n        registering = asyncio.create_task(self._parts.link.register()",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [(crash, "ended with exit status 1"), (never_register, "did not start and register within 60 s")],
)
def test_a_version_that_does_not_come_up(stage: Stage, change: Callable[[Files], None], reason: str) -> None:
    """It passes its checks and takes over, and the former one works again, in the same process, and without a failed job."""
    agent = stage.agent()
    stage.configure(agent, "trial_seconds = 60", "stop_seconds = 5", "[miner]", "drain_seconds = 10")
    stage.release(change)
    with running(agent), Load(agent, stage.directory) as load:
        load.wait_for(1)
        done = command(agent, "update")
        assert done.returncode == 1, done.stdout
        assert reason in done.stdout
        load.wait_for(2)
        assert version(agent) == THIS
        assert agent.process is not None
        assert agent.process.poll() is None
        # Not by itself again.
        assert command(agent, "update", "--prepare").returncode == 0
        assert version(agent) == THIS
    assert load.failures == []


@pytest.mark.parametrize("step", ["update.drained", "update.child_started", "update.state_written:passed"])
def test_killed_during_an_update(stage: Stage, step: str) -> None:
    """`tests/chaos` does this at every step, with a smaller program. What had begun is completed by the next start, and no job fails."""
    agent = stage.agent()
    plan = stage.directory / "plan"
    agent.environment[fault_points.VARIABLE] = str(plan)
    stage.configure(agent, "[miner]", "drain_seconds = 10")
    stage.release()
    with running(agent), Load(agent, stage.directory) as load:
        load.wait_for(1)
        assert command(agent, "update", "--prepare").returncode == 0
        plan.write_text(f"{step} kill")
        with subprocess.Popen(
            [agent.program, "update", "--data-dir", agent.data_dir], env=environment_of_programs()
        ) as update:
            assert agent.process is not None
            assert agent.process.wait(SECONDS) == -signal.SIGKILL
            plan.write_text("")
            wait_until_free(agent)
            agent.start()
            assert update.wait(SECONDS) == 0
        assert version(agent) == NEXT
        load.wait_for(2)
    assert load.failures == []


def wait_until_free(agent: Agent) -> None:
    """Wait until what the killed process had started has drained and ended."""
    end = time.monotonic() + SECONDS
    with (agent.data_dir / "agent.lock").open("r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert time.monotonic() < end
                time.sleep(0.2)
            else:
                return


def test_an_agent_that_updates_itself_when_it_is_idle(stage: Stage) -> None:
    """It looks, installs, tries and restarts by itself."""
    agent = stage.agent()
    stage.configure(
        agent, 'automatic = "idle"', "idle_minutes = 0", "delay_minutes = 0", "check_hours = 0.001", "trial_seconds = 60",
    )  # fmt: skip
    stage.release()
    with running(agent):
        end = time.monotonic() + SECONDS
        while f"updated from {THIS} to {NEXT}" not in command(agent, "status").stdout:
            assert time.monotonic() < end, agent.log.read_text()[-4000:]
            time.sleep(2)
        assert version(agent) == NEXT
