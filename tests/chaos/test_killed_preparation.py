"""`kill -9` at each step of the preparation of an update: the current version is untouched, and the next preparation completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__, fault_points
from agent.updates.directory import VersionsDirectory
from agent.updates.states import Phase
from support.updates import releases
from support.updates.releases import PUBLIC_KEY, Mirror, small_agent

pytestmark = pytest.mark.chaos

NEXT = "9.0.0"
PROGRAM = Path(releases.__file__).with_name("prepare.py")
STEPS = (
    "update.checking",
    "update.manifest_fetched",
    "update.manifest_checked",
    "update.state_writing:preparing",
    "update.state_written:preparing",
    "update.sweeping",
    "update.environment_creating",
    "update.environment_created",
    "update.packages_downloading",
    "update.packages_installed",
    "update.base_marked",
    "update.completed",
    "update.trying",
    "update.started_once",
    "update.tried:doctor",
    "update.tried:jobs",
    "update.state_writing:prepared",
    "update.state_written:prepared",
)


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_an_update_is_prepared(step: str, tmp_path: Path) -> None:
    mirror, data = Mirror(tmp_path / "mirror"), tmp_path / "data"
    mirror.add(NEXT, small_agent(NEXT))
    versions, plan = VersionsDirectory(data / "versions"), tmp_path / "plan"
    # An older version, which is deleted meanwhile.
    (versions.path / "0.1.0").mkdir(parents=True)
    plan.write_text(f"{step} kill")
    with mirror.served() as index:
        (data / "agent.toml").write_text(f'[updates]\nindex = "{index}"\npublic_keys = ["{PUBLIC_KEY}"]\n')
        assert run(data, plan).returncode == -signal.SIGKILL
        assert versions.current == __version__
        plan.write_text("")
        done = run(data, plan)
    assert done.stdout.split() == [NEXT], done.stderr
    assert versions.read().phase is Phase.PREPARED
    assert versions.is_complete(NEXT)
    assert not (versions.path / "0.1.0").exists()


def run(data: Path, plan: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, data],
        env={**os.environ, fault_points.VARIABLE: str(plan), "PYTHONPATH": str(PROGRAM.parents[3])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
