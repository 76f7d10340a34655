"""The agent's notifications to systemd, through a real notification socket and with a coordinator's real parts."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.cli.systemd.notify import Notifier
from agent.cli.systemd.watchdog import Watchdog
from agent.cli.terminal import activity
from agent.coordinator.app import build_app, build_context
from agent.coordinator.features.log.sequencer import Sequencer
from agent.coordinator.operations import health
from agent.coordinator.operations.context import Context
from agent.core.liveness import Liveness
from agent.settings import Settings

LIMIT_SECONDS = 180
BEAT_SECONDS = 0.3


class Supervisor:
    """Receives notifications."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(LIMIT_SECONDS)

    def notifier(self, watchdog_seconds: float | None = None, **environment: str) -> Notifier:
        watched = {} if watchdog_seconds is None else {"WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))}
        return Notifier({"NOTIFY_SOCKET": str(self.path), **watched, **environment})

    def receive(self) -> list[str]:
        """Return the lines of the next message."""
        return self._socket.recv(4096).decode().split("\n")

    async def until(self, start: str) -> list[str]:
        """Receive lines until one begins with `start`, and return all of them."""
        received: list[str] = []
        while not any(line.startswith(start) for line in received):
            received += await asyncio.to_thread(self.receive)
        return received

    async def silence(self, line: str, seconds: float) -> list[str]:
        """Return all lines of this many seconds, and check that none of them is `line`."""
        received: list[str] = []
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            self._socket.settimeout(left)
            try:
                received += await asyncio.to_thread(self.receive)
            except TimeoutError:
                break
        assert line not in received
        return received


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "notify")
    yield supervisor
    supervisor._socket.close()


@asynccontextmanager
async def coordinator(directory: Path) -> AsyncIterator[Context]:
    """Run the coordinator's parts and background tasks without its server."""
    context = build_context(Settings(data_dir=directory))
    app = build_app(context)
    async with app.router.lifespan_context(app):
        yield context


async def _line() -> str:
    return "idle"


def test_a_status_is_sent_only_when_it_has_changed(supervisor: Supervisor) -> None:
    """A line break in a status would start another message, so it is replaced."""
    notifier = supervisor.notifier()
    notifier.ready("idle:\nWATCHDOG=1")
    assert supervisor.receive() == ["READY=1", "STATUS=idle: WATCHDOG=1"]
    notifier.status("idle: WATCHDOG=1")
    notifier.extend(1.5)
    assert supervisor.receive() == ["EXTEND_TIMEOUT_USEC=1500000"]
    notifier.stopping("stopping")
    assert supervisor.receive() == ["STOPPING=1", "STATUS=stopping"]


def test_a_watchdog_of_another_process_is_ignored(supervisor: Supervisor) -> None:
    """A child inherits its parent's variables, and must not report for it."""
    assert supervisor.notifier(60).watchdog_seconds == 60
    assert supervisor.notifier(60, WATCHDOG_PID=str(os.getpid())).watchdog_seconds == 60
    assert supervisor.notifier(60, WATCHDOG_PID="1").watchdog_seconds is None
    assert supervisor.notifier().watchdog_seconds is None


def test_a_missing_supervisor_causes_no_error(tmp_path: Path) -> None:
    """On a terminal, and when the supervisor has closed its socket."""
    Notifier({}).ready("idle")
    closed = Notifier({"NOTIFY_SOCKET": str(tmp_path / "closed")})
    closed.ready("idle")
    assert not Notifier({}).present


def test_a_coordinator_with_a_hanging_writer_sends_no_keep_alive(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop still runs, so a mere timer would send it. The status names the hanging part until that recovers."""
    monkeypatch.setattr(health, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(health, "SILENCE_SECONDS", 0.5)
    go_on = threading.Event()

    async def watch() -> None:
        async with coordinator(tmp_path / "data") as context:
            watchdog = Watchdog(supervisor.notifier(BEAT_SECONDS), context.monitoring.liveness, _line)
            watchdog.ready("idle")
            async with watchdog.running():
                await supervisor.until("WATCHDOG=1")
                hanging = asyncio.create_task(context.database.write(lambda _: go_on.wait(LIMIT_SECONDS)))
                received = await supervisor.until("STATUS=Not responding")
                assert any("database: no progress" in line for line in received)
                await supervisor.silence("WATCHDOG=1", 3 * BEAT_SECONDS)
                go_on.set()
                await hanging
                await supervisor.until("WATCHDOG=1")

    asyncio.run(watch())


def test_a_coordinator_with_a_failed_task_sends_no_keep_alive(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that extends the log ends with an error."""

    async def broken(self: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(Sequencer, "run", broken)

    async def watch() -> None:
        async with coordinator(tmp_path / "data") as context:
            await asyncio.sleep(0)
            async with Watchdog(
                supervisor.notifier(BEAT_SECONDS), context.monitoring.liveness, _line
            ).running():
                received = await supervisor.until("STATUS=Not responding")
        assert "STATUS=Not responding (log: it ended (KeyError))" in received
        assert "WATCHDOG=1" not in received

    asyncio.run(watch())


def test_a_long_stop_extends_its_time_limit_repeatedly(supervisor: Supervisor) -> None:
    """In small steps, so that a stop that hangs gets no further extension, and never beyond the announced time."""

    async def end() -> None:
        watchdog = Watchdog(supervisor.notifier(BEAT_SECONDS), Liveness(), _line)
        watchdog.ready("idle")
        async with watchdog.running():
            await supervisor.until("READY=1")
            watchdog.stopping("stopping", 3 * BEAT_SECONDS)
            received = await supervisor.silence("STATUS=idle", 3 * BEAT_SECONDS)
            assert received.count("EXTEND_TIMEOUT_USEC=30000000") >= 2
            assert "STOPPING=1" in received
            assert "WATCHDOG=1" in received
            await supervisor.silence("EXTEND_TIMEOUT_USEC=30000000", 2 * BEAT_SECONDS)

    asyncio.run(end())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "idle, on the CPU: no jobs for this machine"),
        ({"gpus": [{}, {}]}, "idle, on 2 GPUs: no jobs for this machine"),
        ({"leases": [{}]}, "1 job running, 1 free slot"),
        ({"paused": "by its owner", "leases": [{}, {}]}, "2 jobs running; paused: by its owner"),
        ({"connection": "offline", "outbox": 3}, "the coordinator http://c cannot be reached; 3 unsent results"),
        ({"connection": "offline", "refusal": "Update."}, "the coordinator http://c refuses this miner: Update."),
        ({"services": []}, "idle: this machine offers no service; see `aitbc-agent doctor`"),
    ],
)  # fmt: skip
def test_the_status_line_states_the_activity_or_the_reason_for_none(
    changes: dict[str, object], line: str
) -> None:
    status = {
        "leases": [], "outbox": 0, "paused": None, "connection": "websocket", "coordinator": "http://c",
        "silent_since": None, "refusal": None,
        "services": ["video_transcoding"], "gpus": [], "slots": {"total": 2, "free": 1},
        "now": {"no jobs for this machine": 2},
    }  # fmt: skip
    assert activity.miner_line({**status, **changes}) == line
