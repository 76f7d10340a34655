"""Named points at which a test can make this process fail: end, stop, stall, raise an error, or find its disk full.

They are disabled unless the environment variable `AITBC_FAULT_POINTS` names a file when the process starts. A disabled point costs
one comparison. The file is the plan. It is read again whenever it changes, so that a campaign can plan the next fault while the
process runs. Each line has the form

    POINT[:DETAIL] ACTION[=SECONDS] [COUNT]

When the point is passed for the COUNTth time (default: the first) since the plan was read, ACTION is performed once; with `*` as
COUNT, every time. DETAIL restricts a point, for example to one kind of transaction. Before each action, a line is appended to
`FILE.done`. See `docs/explanation/reliability.md`.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

VARIABLE: Final = "AITBC_FAULT_POINTS"

POINTS: Final = {
    "database.before_commit": "a transaction of the coordinator is about to commit; DETAIL is the function's name",
    "database.after_commit": "the transaction is durable, and no caller has its result yet; DETAIL as before",
    "migration.before_commit": "a step of `aitbc-agent migrate` is about to commit; DETAIL is its table",
    "migration.after_commit": "the step is committed; DETAIL is its table or index",
    "artifact.writing": "a chunk of a file is about to be written",
    "artifact.received": "a file is complete and synced under its temporary name",
    "artifact.stored": "a file has its final name, but no row yet",
    "artifact.removing": "nothing refers to a file any more, and it is about to be removed",
    "upload.writing": "a chunk of a resumable upload is about to be written",
    "upload.synced": "a part of a resumable upload is on disk, but not recorded in its row yet",
    "log.signed": "a checkpoint is in the database, but not in its file",
    "log.publishing": "the checkpoint's file is written under its temporary name",
    "batch.part_stored": "the results of a part of a batch's lines are stored, and the next one is about to begin",
    "webhook.claimed": "the attempt to send a message is counted, but nothing is sent yet",
    "webhook.answered": "the receiver has responded, but the response is not recorded yet",
    "payout.prepared": "an adapter has prepared transfers, which are not stored yet; DETAIL is the adapter",
    "payout.sending": "an attempt to send a stored transfer is counted, but nothing is sent yet; DETAIL is the adapter",
    "payout.sent": "an adapter has sent a transfer, but its answer is not stored yet; DETAIL is the adapter",
    "payout.polled": "an adapter has reported the state of a transfer, which is not stored yet; DETAIL is the adapter",
    "payout.file_written": "a file of a batch has its final name; DETAIL is json or csv",
    "payout.answered": "the receiver of a payment has answered, but nothing is recorded yet; DETAIL is the adapter",
    "miner.lease_received": "a lease has arrived",
    "miner.inputs_fetched": "all inputs of the job are on the miner's disk",
    "miner.run_finished": "the runner has returned its results",
    "miner.signed": "the statement is signed, but only in memory",
    "outbox.before_commit": "a transaction of the outbox is about to commit; DETAIL is put, mark_uploaded, replace or remove",
    "outbox.after_commit": "the transaction is durable; DETAIL as before",
    "miner.uploaded": "the coordinator has stored an output file, but the outbox has not recorded it",
    "miner.delivered": "the coordinator has responded to a result or a failure",
    "miner.acknowledged": "the response is final, and the outbox still has the entry",
    "miner.removed": "the entry is deleted, but its files are not",
    "update.checking": "the index is about to be asked for a release",
    "update.manifest_fetched": "the manifest of a release is here, but not verified",
    "update.manifest_checked": "a trusted key has signed the manifest",
    "update.state_writing": "the state of an update is about to be replaced; DETAIL is the new phase",
    "update.state_written": "the state of an update is replaced; DETAIL is its phase",
    "update.environment_creating": "the environment of a version is about to be created",
    "update.environment_created": "the environment is there, without packages",
    "update.packages_downloading": "the packages are about to be installed",
    "update.packages_installed": "the packages are installed",
    "update.base_marked": "the environment names the installation that it belongs to",
    "update.completed": "the environment is marked as complete",
    "update.trying": "the version is about to be tried in a scratch directory",
    "update.started_once": "the version has printed its number",
    "update.tried": "a check of the version has ended; DETAIL is doctor or jobs",
    "update.drained": "the agent has ended its jobs, and is about to restart",
    "update.backing_up": "the database is about to be copied",
    "update.backed_up": "the database is copied",
    "update.supervising": "the trial is stored, and the supervisor is about to take over",
    "update.child_starting": "the supervisor is about to start the version",
    "update.child_started": "the supervisor has started the version",
    "update.reporting": "the version on trial is about to report",
    "update.reported": "the version on trial has reported",
    "update.passed": "the supervisor has found that the version works, but has not stored that",
    "update.not_passed": "the supervisor has found that the version does not work, but has not stored that",
    "update.link_written": "the link to the current version has its temporary name",
    "update.link_replaced": "the link names another version",
    "update.finished": "the update is complete",
    "update.child_ended": "a version that did not pass has ended",
    "update.restoring": "the database is about to be replaced by its copy",
    "update.restored": "the database is replaced by its copy",
    "update.sweeping": "a version that is no longer needed is about to be deleted",
}
"""Every point, and the state of the process when it is passed."""


class InjectedFault(Exception):
    """The error that a plan requests."""


class Action(StrEnum):
    """The action at a point."""

    KILL = "kill"
    """This process gets SIGKILL."""
    STOP = "stop"
    """This process gets SIGSTOP; another process must continue it."""
    RAISE = "raise"
    """`InjectedFault` is raised."""
    DELAY = "delay"
    """The thread sleeps for SECONDS."""
    DISK_FULL = "disk_full"
    """The error that a full disk would cause at this point is raised."""


@dataclass(slots=True)
class _Fault:
    point: str
    detail: str
    action: Action
    seconds: float
    count: int | None
    passed: int = 0

    def is_due(self, point: str, detail: str) -> bool:
        if self.point != point or (self.detail and self.detail != detail):
            return False
        self.passed += 1
        return self.count is None or self.passed == self.count


def _no_space() -> BaseException:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _FaultPlan:
    """The plan in a file, with a count of how often each point was passed. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()

    def reach(self, point: str, detail: str, full: Callable[[], BaseException]) -> None:
        if point not in POINTS:
            raise ValueError(f"{point} is not a fault point; add it to POINTS.")
        with self._lock:
            self._refresh()
            due = next((fault for fault in self._faults if fault.is_due(point, detail)), None)
        if due is not None:
            self._record(point, detail, due)
            _act(due, full)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._read, self._faults = None, []
            return
        version = (status.st_ino, status.st_mtime_ns)
        if version != self._read:
            self._read = version
            self._faults = [
                parse(line) for line in self._path.read_text("utf-8").splitlines() if line.strip()
            ]

    def _record(self, point: str, detail: str, fault: _Fault) -> None:
        line = f"{point}:{detail} {fault.action} {fault.passed} {os.getpid()}\n"
        with self._path.with_name(f"{self._path.name}.done").open("a", encoding="utf-8") as file:
            file.write(line)


def parse(line: str) -> _Fault:
    """Parse one line of a plan. Raises `ValueError`."""
    location, act, *count = line.split()
    point, _, detail = location.partition(":")
    if point not in POINTS:
        raise ValueError(f"{point} is not a fault point. The fault points are: {', '.join(POINTS)}.")
    action, _, seconds = act.partition("=")
    times = count[0] if count else "1"
    return _Fault(point, detail, Action(action), float(seconds or 0), None if times == "*" else int(times))


def _act(fault: _Fault, full: Callable[[], BaseException]) -> None:
    match fault.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.DELAY:
            time.sleep(fault.seconds)
        case Action.DISK_FULL:
            raise full()
        case Action.RAISE:
            raise InjectedFault(f"This error was planned at {fault.point}.")


_plan = _FaultPlan(Path(os.environ[VARIABLE])) if os.environ.get(VARIABLE) else None


def reach(point: str, detail: str = "", *, full: Callable[[], BaseException] = _no_space) -> None:
    """Pass a point. Does nothing without a plan.

    `full` creates the error that a full disk causes at this point (default: `OSError` with ENOSPC).
    """
    if _plan is not None:
        _plan.reach(point, detail, full)


def armed() -> bool:
    """Return whether this process follows a plan."""
    return _plan is not None
