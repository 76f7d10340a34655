"""A version takes over, or the former one returns; `tests/chaos` kills the programs at each step."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.updates.states import Phase, UpdateEnding
from support.updates.pair import NEW, OLD, Pair

pytestmark = pytest.mark.system


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def test_a_new_version_takes_over(pair: Pair) -> None:
    """In the same process for its owner, and it remains the current one after a restart."""
    pair.begin()
    assert pair.wait_for_work(NEW) == NEW
    assert pair.process is not None
    assert pair.process.poll() is None
    state = pair.state
    assert state.last is not None
    assert (state.last.ending, state.last.former, state.last.version) == (UpdateEnding.UPDATED, OLD, NEW)
    assert state.previous == OLD
    assert pair.stop() == 0
    pair.start()
    pair.wait(lambda: pair.working() == (NEW, pair.process.pid), "the new version does not start again")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("crash", "ended with exit status 1"),
        ("hang", "did not start and register"),
        ("never registers", "did not start and register"),
        ("fails jobs", "2 of its 2 jobs failed"),
    ],
)
def test_a_bad_version_never_stays(tmp_path: Path, behaviour: str, reason: str) -> None:
    """The former one works again in the same process, on the database from before the migration."""
    pair = Pair(tmp_path, behaviour)
    try:
        pair.begin(FAKE_TRIAL_SECONDS="1" if behaviour in {"hang", "never registers"} else "60")
        pair.wait(lambda: pair.state.last is not None, "the update does not end")
        assert pair.wait_for_work(OLD) == OLD
        assert pair.process is not None
        assert pair.process.poll() is None
        state = pair.state
        assert state.last is not None
        assert state.last.ending is UpdateEnding.RETURNED
        assert reason in state.last.reason
        assert NEW in state.failed
        assert (pair.data / "database").read_text() == "1"
        assert len(pair.begun()) == 1
    finally:
        pair.close()


def test_a_trial_that_is_interrupted_again_and_again(pair: Pair) -> None:
    """Two losses of power may be anyone's fault; after that, the former version is the safer one."""
    pair.begin("update.child_started kill *")
    pair.wait(lambda: "kill" in pair.done, "nothing was killed")
    for _ in range(2):
        assert pair.process is not None
        pair.process.wait(60)
        pair.wait(lambda: not pair.begun(), "the version on trial does not end")
        pair.start("update.child_started kill *")
    assert pair.wait_for_work(OLD) == OLD
    assert pair.state.last is not None
    assert "interrupted 2 times" in pair.state.last.reason


def test_a_stop_during_the_trial_is_no_failure(tmp_path: Path) -> None:
    """The next start begins it again."""
    pair = Pair(tmp_path, "never registers")
    try:
        pair.begin()
        pair.wait(lambda: (pair.working() or ("",))[0] == NEW, "the trial does not begin")
        assert pair.stop() == 0
        assert (pair.state.phase, pair.state.attempts) == (Phase.DUE, 0)
        (pair.versions.path / NEW / "behaviour").write_text("good")
        pair.start()
        assert pair.wait_for_work(NEW) == NEW
    finally:
        pair.close()


def test_a_rollback_by_the_owner(pair: Pair) -> None:
    """The version before returns at once, with the database from before the migration."""
    pair.begin()
    pair.wait_for_work(NEW)
    pair.versions.write(pair.state.roll_back(NEW))
    assert pair.wait_for_work(OLD) == OLD
    assert pair.state.last is not None
    assert pair.state.last.ending is UpdateEnding.ROLLED_BACK
    assert (pair.data / "database").read_text() == "1"
    assert not os.path.lexists(pair.versions.path / "current")


@pytest.mark.parametrize("behaviour", ["good", "fails jobs"])
def test_under_systemd(tmp_path: Path, behaviour: str) -> None:
    """It sees one process, which is ready and never stops, and whose watchdog is fed while a version takes long to start."""
    pair = Pair(tmp_path, behaviour)
    messages: list[tuple[int, str]] = []
    end = "the test has ended"

    def receive() -> None:
        # Always, as systemd does: a sender waits while the receiver's queue is full.
        while not is_received(end):
            data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(12))
            messages.append((struct.unpack("3i", ancillary[0][2])[0], data.decode()))

    def is_received(text: str) -> bool:
        return any(text in message for _, message in messages)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, ThreadPoolExecutor() as threads:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.bind(f"\0{tmp_path}")
        threads.submit(receive)
        try:
            pair.begin(NOTIFY_SOCKET=f"@{tmp_path}", WATCHDOG_USEC="30000")
            pair.wait(lambda: is_received("WATCHDOG=1"), "the watchdog is not fed")
            pair.wait(lambda: is_received(f"READY=1\nSTATUS={NEW}"), "the version on trial is not ready")
            pair.wait(lambda: pair.state.last is not None, "the update does not end")
            version = pair.wait_for_work(NEW if behaviour == "good" else OLD)
            assert not is_received("STOPPING=1")
            assert pair.stop() == 0
            pair.wait(lambda: is_received(f"STOPPING=1\nSTATUS={version}"), "the stop is not reported")
            assert pair.process is not None
            assert {process_id for process_id, _ in messages} == {pair.process.pid}
        finally:
            pair.close()
            manager.sendto(end.encode(), manager.getsockname())


def test_one_update_after_the_other(pair: Pair) -> None:
    """A version that was an update is updated as well, in the same process for its owner."""
    pair.begin()
    pair.wait_for_work(NEW)
    pair.install("3.0.0")
    pair.prepare("3.0.0", NEW)
    assert pair.wait_for_work("3.0.0") == "3.0.0"
    assert pair.process is not None
    assert pair.process.poll() is None
    assert pair.state.previous == NEW


def test_what_the_owner_installs_later_comes_first(pair: Pair) -> None:
    """After another version was installed where the owner has it, that one runs."""
    pair.begin()
    pair.wait_for_work(NEW)
    assert pair.stop() == 0
    modules = next(pair.base.glob("lib/*/site-packages/sitecustomize.py"))
    # Of another length: within a second, Python recognises a changed file by its size only.
    modules.write_text("import agent\nagent.__version__ = '2.50.0'\n")
    pair.start()
    pair.wait(lambda: (pair.working() or ("",))[0] == "2.50.0", "the owner's version does not run")


def test_a_full_disk_during_the_trial(pair: Pair) -> None:
    """The version works while its success cannot be stored, and becomes the current one when it can."""
    pair.begin("update.state_writing:passed disk_full *")
    pair.wait(lambda: "disk_full" in pair.done, "the disk is not full")
    pair.wait(lambda: (pair.working() or ("",))[0] == NEW, "the new version does not work")
    assert pair.state.phase is Phase.TRIAL
    pair.plan.write_text("")
    assert pair.wait_for_work(NEW) == NEW


def test_a_version_that_has_vanished(pair: Pair) -> None:
    """A broken environment keeps nobody from working."""
    pair.begin()
    pair.wait_for_work(NEW)
    assert pair.stop() == 0
    (pair.versions.path / NEW / "bin/python").unlink()
    pair.start()
    # Its database is newer than what the old version reads; that it runs is what counts here.
    pair.wait(
        lambda: f"{OLD} {pair.process.pid} cannot read the database" in pair.events,
        "the old version does not run",
    )  # type: ignore[union-attr]
