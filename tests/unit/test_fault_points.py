"""Fault points: disabled by default, and otherwise exactly as planned."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import fault_points
from agent.fault_points import POINTS, InjectedFault, parse, reach
from campaign.faults import COORDINATOR_POINTS, FULL_COORDINATOR, FULL_MINER, MINER_POINTS, TRANSACTIONS

ROOT = Path(__file__).parents[2]
POINT = "miner.signed"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "plan"
    monkeypatch.setattr(fault_points, "_plan", fault_points._FaultPlan(path))
    return path


def test_fault_points_are_disabled_without_the_variable() -> None:
    """A process follows a plan only if it was started with one, so a point costs one comparison."""
    assert not fault_points.armed()
    for point in POINTS:
        reach(point)


def test_the_list_of_points_matches_the_code() -> None:
    """A campaign selects points from the list, so each of them must exist in the code."""
    calls = re.compile(r"\breach\(\s*\"([a-z_.]+)\"")
    used = {
        name
        for path in (ROOT / "agent").rglob("*.py")
        if path.name != "fault_points.py"
        for name in calls.findall(path.read_text())
    }
    assert used == set(POINTS)


def test_a_campaign_selects_existing_points() -> None:
    """Its transactions exist too: a campaign would wait in vain for a renamed function."""
    for point in (*COORDINATOR_POINTS, *MINER_POINTS, *FULL_COORDINATOR, *FULL_MINER):
        parse(f"{point} kill")
    sources = "\n".join(path.read_text() for path in (ROOT / "agent" / "coordinator").rglob("*.py"))
    for name in TRANSACTIONS:
        assert re.search(rf"database\.write(?:_together)?\(\s*(?:\w+\.)*{name}\b", sources), name


def test_a_fault_occurs_once_at_the_planned_pass(plan: Path) -> None:
    plan.write_text(f"{POINT} raise 3\n")
    reach(POINT)
    reach("miner.delivered")
    reach(POINT)
    with pytest.raises(InjectedFault):
        reach(POINT)
    reach(POINT)


def test_a_star_means_every_pass_until_the_plan_changes(plan: Path) -> None:
    plan.write_text(f"{POINT} raise *\n")
    for _ in range(2):
        with pytest.raises(InjectedFault):
            reach(POINT)
    plan.write_text("")
    reach(POINT)


def test_a_detail_restricts_a_point(plan: Path) -> None:
    plan.write_text("outbox.after_commit:put raise\n")
    reach("outbox.after_commit", "remove")
    with pytest.raises(InjectedFault):
        reach("outbox.after_commit", "put")


def test_a_full_disk_raises_the_error_of_its_point(plan: Path) -> None:
    plan.write_text(f"{POINT} disk_full *\n")
    with pytest.raises(OSError, match="No space") as raised:
        reach(POINT)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(ZeroDivisionError):
        reach(POINT, full=ZeroDivisionError)


def test_a_delay_blocks_the_thread(plan: Path) -> None:
    plan.write_text(f"{POINT} delay=0.05\n")
    began = time.monotonic()
    reach(POINT)
    assert time.monotonic() - began >= 0.05


def test_actions_are_recorded(plan: Path) -> None:
    plan.write_text("outbox.after_commit raise 2\n")
    reach("outbox.after_commit", "put")
    with pytest.raises(InjectedFault):
        reach("outbox.after_commit", "remove")
    (line,) = plan.with_name("plan.done").read_text().splitlines()
    assert line.startswith("outbox.after_commit:remove raise 2 ")


@pytest.mark.parametrize("line", ["miner.nowhere kill", "miner.signed explode", "miner.signed kill often"])
def test_an_invalid_plan_is_refused(line: str) -> None:
    """Otherwise a campaign would inject no faults."""
    with pytest.raises(ValueError, match=r"nowhere|explode|often"):
        parse(line)


def test_a_process_is_killed_at_the_planned_point(tmp_path: Path) -> None:
    """With the variable, which only the starter of the process can set."""
    plan = tmp_path / "plan"
    plan.write_text(f"{POINT} kill 2\n")
    code = (
        f"from agent.fault_points import reach; [print(n, flush=True) or reach({POINT!r}) for n in range(9)]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "AITBC_FAULT_POINTS": str(plan)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-9, "0\n1\n")
