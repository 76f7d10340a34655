"""A program in the form of `aitbc-agent` that starts at once: it switches between versions as the agent does, and its work is to write a file.

It uses the agent's launcher, state, switch and supervisor. Its database is a file with the number of its schema, which version 2.0.0 migrates.
A file `behaviour` in its environment says what is wrong with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from agent import __version__
from agent.updates.launcher import redirect

redirect(__version__)

from agent.core.errors import AgentError  # noqa: E402 - as in the agent, only after that
from agent.fault_points import reach  # noqa: E402
from agent.updates.directory import VersionsDirectory  # noqa: E402
from agent.updates.states import Phase, TrialReport, UpdateState  # noqa: E402
from agent.updates.supervisor import Order, is_supervised, start_again  # noqa: E402
from agent.updates.switching import Switch  # noqa: E402

TRIAL_SECONDS = float(os.environ.get("FAKE_TRIAL_SECONDS", "60"))
TICK = 0.02
data = Path(sys.argv[sys.argv.index("--data-dir") + 1])
versions = VersionsDirectory(data / "versions")
behaviour = (Path(sys.prefix) / "behaviour").read_text().strip()
SCHEMA = __version__.partition(".")[0]


def note(line: str) -> None:
    with (data / "events").open("a") as events:
        events.write(f"{__version__} {os.getpid()} {line}\n")


def notify(message: str) -> None:
    """Send a message to systemd, which has started this program if the variable is there."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            target = f"\0{address[1:]}" if address.startswith("@") else address
            notifier.sendto(f"{message}\nSTATUS={__version__}".encode(), target)


def order(version: str) -> Order:
    return Order(str(versions.path), version, TRIAL_SECONDS, 5, tuple(sys.argv[1:]))


def back_up(name: str, _version: str) -> bool:
    target = versions.backups / name
    target.mkdir(parents=True, exist_ok=True)
    reach("update.backing_up")
    shutil.copy(data / "database", target / "database")
    reach("update.backed_up")
    return True


def restore(name: str, _version: str) -> None:
    if (data / "database").read_text() > SCHEMA:
        reach("update.restoring")
        shutil.copy(versions.backups / name / "database", data / "database.new")
        (data / "database.new").replace(data / "database")
        reach("update.restored")


def must_restart(state: UpdateState) -> bool:
    if state.phase is Phase.RETURNING:
        return state.former != __version__
    return state.phase is Phase.DUE and state.version != __version__


def main() -> None:
    """Work until SIGTERM."""
    if behaviour == "crash":
        sys.exit("This version does not start.")
    lock = (data / "agent.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("Another one is running.")
    note("begins")
    Switch(
        versions, __version__, order, back_up, restore, lambda error: note(f"error {error}")
    ).before_start()
    database = (data / "database").read_text()
    if database > SCHEMA:
        note("cannot read the database")
        sys.exit("The database is newer.")
    (data / "database").write_text(SCHEMA)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    report = TrialReport(
        ready=behaviour not in {"hang", "never registers"},
        completed=int(behaviour == "good"),
        faults=2 * (behaviour == "fails jobs"),
    )
    if behaviour == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    notify("READY=1")
    while not stopped:
        state = versions.read()
        if is_supervised() and state.phase is Phase.TRIAL:
            reach("update.reporting")
            versions.report(report)
            reach("update.reported")
        if state.phase is Phase.PREPARED:
            versions.write(state.make_due())
        elif must_restart(state):
            reach("update.drained")
            lock.close()
            start_again(tuple(sys.argv[1:]))
        (data / "working.new").write_text(f"{__version__} {os.getpid()}")
        (data / "working.new").replace(data / "working")
        time.sleep(TICK)
    notify("STOPPING=1")
    note("stopped")


try:
    main()
except AgentError as error:
    sys.exit(str(error))
