"""`kill -9` at each step of an update: one version starts, and works."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.updates.pair import NEW, Pair

pytestmark = pytest.mark.chaos

PASSING = (
    "update.state_writing:due",
    "update.state_written:due",
    "update.drained",
    "update.backing_up",
    "update.backed_up",
    "update.state_writing:trial",
    "update.state_written:trial",
    "update.supervising",
    "update.child_starting",
    "update.child_started",
    "update.reporting",
    "update.reported",
    "update.passed",
    "update.state_writing:passed",
    "update.state_written:passed",
    "update.link_written",
    "update.link_replaced",
    "update.state_writing:idle",
    "update.state_written:idle",
    "update.finished",
)
"""The steps of a version that works, in their order."""
RETURNING = (
    "update.not_passed",
    "update.state_writing:returning",
    "update.state_written:returning",
    "update.child_ended",
    "update.restoring",
    "update.restored",
)
"""Further steps when one does not."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.close()


@pytest.mark.parametrize("point", PASSING)
def test_killed_while_a_version_takes_over(pair: Pair, point: str) -> None:
    """After `kill -9` at each step, the next start has one version that works, on a database that it can read."""
    pair.begin(f"{point} kill")
    check_after_kill(pair)


@pytest.mark.parametrize("point", RETURNING)
def test_killed_while_the_former_version_returns(tmp_path: Path, point: str) -> None:
    pair = Pair(tmp_path, "fails jobs")
    try:
        pair.begin(f"{point} kill")
        check_after_kill(pair)
        assert NEW in pair.state.failed
    finally:
        pair.close()


def check_after_kill(pair: Pair) -> None:
    """The plan has killed a process: start again if that was the agent's own, and see that one version works."""
    pair.wait(lambda: "kill" in pair.done, "nothing was killed")
    killed = int(pair.done.split()[-1])
    (pair.data / "working").unlink(missing_ok=True)
    # A second process with the same plan would be killed too.
    pair.plan.write_text("")
    assert pair.process is not None
    # A version that is killed right after it has passed takes the agent with it, as any kill of an agent does.
    pair.wait(lambda: pair.process.poll() is not None or pair.working() is not None, "nothing works or ends")
    if pair.process.poll() is not None:
        assert killed != pair.process.pid or pair.process.returncode == -signal.SIGKILL
        pair.wait(lambda: not pair.begun(), "what the killed process had started does not end")
        pair.start()
    version = pair.wait_for_work()
    assert pair.versions_current() == version
    assert len(pair.begun()) == 1
    assert (pair.data / "database").read_text() == version[0]
    assert pair.stop() == 0
