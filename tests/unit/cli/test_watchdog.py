"""What systemd hears of an agent: a real socket of notifications, and the coordinator's real parts behind it."""

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
from agent.coordinator.operations import health
from agent.coordinator.operations.context import Context
from agent.core.liveness import Liveness
from agent.settings import Settings

LIMIT_SECONDS = 10
BEAT_SECONDS = 0.3


class Supervisor:
    """What a supervisor receives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(LIMIT_SECONDS)

    def notifier(self, watchdog_seconds: float | None = None, **environment: str) -> Notifier:
        watched = {} if watchdog_seconds is None else {"WATCHDOG_USEC": str(int(watchdog_seconds * 1e6))}
        return Notifier({"NOTIFY_SOCKET": str(self.path), **watched, **environment})

    def hear(self) -> list[str]:
        """The next message's lines."""
        return self._socket.recv(4096).decode().split("\n")

    async def until(self, line: str) -> list[str]:
        """All lines up to the one that begins so."""
        heard: list[str] = []
        while not any(said.startswith(line) for said in heard):
            heard += await asyncio.to_thread(self.hear)
        return heard

    async def silence(self, line: str, seconds: float) -> list[str]:
        """All lines of so many seconds; none of them is `line`."""
        heard: list[str] = []
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            self._socket.settimeout(left)
            try:
                heard += await asyncio.to_thread(self.hear)
            except TimeoutError:
                break
        assert line not in heard
        return heard


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "notify")
    yield supervisor
    supervisor._socket.close()


@asynccontextmanager
async def coordinator(directory: Path) -> AsyncIterator[Context]:
    """The coordinator's parts and the tasks beside them, without its server."""
    context = build_context(Settings(data_dir=directory))
    app = build_app(context)
    async with app.router.lifespan_context(app):
        yield context


async def _line() -> str:
    return "idle"


def test_each_message_is_sent_once_and_a_status_only_when_it_changed(supervisor: Supervisor) -> None:
    """READY with what the agent does; line breaks in it would be other messages, so there are none."""
    notifier = supervisor.notifier()
    notifier.ready("idle:\nWATCHDOG=1")
    assert supervisor.hear() == ["READY=1", "STATUS=idle: WATCHDOG=1"]
    notifier.status("idle: WATCHDOG=1")
    notifier.extend(1.5)
    assert supervisor.hear() == ["EXTEND_TIMEOUT_USEC=1500000"]
    notifier.stopping("ends")
    assert supervisor.hear() == ["STOPPING=1", "STATUS=ends"]


def test_the_watchdogs_time_counts_only_if_it_is_meant_for_this_process(supervisor: Supervisor) -> None:
    """A child inherits its parent's variables, and must not speak for it."""
    assert supervisor.notifier(60).watchdog_seconds == 60
    assert supervisor.notifier(60, WATCHDOG_PID=str(os.getpid())).watchdog_seconds == 60
    assert supervisor.notifier(60, WATCHDOG_PID="1").watchdog_seconds is None
    assert supervisor.notifier().watchdog_seconds is None


def test_without_a_supervisor_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    """On a terminal, and where the supervisor has gone."""
    Notifier({}).ready("idle")
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    gone.ready("idle")
    assert not Notifier({}).present


def test_a_coordinator_whose_writer_hangs_is_not_kept_alive(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop goes on, so a mere timer would beat; the agent says which part hangs, and falls silent until it goes on."""
    monkeypatch.setattr(health, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(health, "SILENCE_SECONDS", 0.5)
    go_on = threading.Event()

    async def watch() -> None:
        async with coordinator(tmp_path / "data") as context:
            watchdog = Watchdog(supervisor.notifier(BEAT_SECONDS), context.liveness, _line)
            watchdog.ready("idle")
            async with watchdog.running():
                await supervisor.until("WATCHDOG=1")
                hanging = asyncio.create_task(context.database.write(lambda _: go_on.wait(LIMIT_SECONDS)))
                said = await supervisor.until("STATUS=Hangs")
                assert any("database: no progress" in line for line in said)
                await supervisor.silence("WATCHDOG=1", 3 * BEAT_SECONDS)
                go_on.set()
                await hanging
                await supervisor.until("WATCHDOG=1")

    asyncio.run(watch())


def test_a_coordinator_that_has_lost_a_task_is_not_kept_alive(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhooks' task ends with an error; nobody would send any more."""

    async def broken(self: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("agent.coordinator.webhook_sender.WebhookSender.run", broken)

    async def watch() -> None:
        async with coordinator(tmp_path / "data") as context:
            await asyncio.sleep(0)
            async with Watchdog(supervisor.notifier(BEAT_SECONDS), context.liveness, _line).running():
                said = await supervisor.until("STATUS=Hangs")
        assert "STATUS=Hangs (webhooks: it ended (KeyError))" in said
        assert "WATCHDOG=1" not in said

    asyncio.run(watch())


def test_a_long_end_asks_for_more_time_as_long_as_it_may_take(supervisor: Supervisor) -> None:
    """Again and again, so that an end that hangs gets no more of it; and not beyond the time that was named."""

    async def end() -> None:
        watchdog = Watchdog(supervisor.notifier(BEAT_SECONDS), Liveness(), _line)
        watchdog.ready("idle")
        async with watchdog.running():
            await supervisor.until("READY=1")
            watchdog.stopping("ends", 3 * BEAT_SECONDS)
            said = await supervisor.silence("STATUS=idle", 3 * BEAT_SECONDS)
            assert said.count("EXTEND_TIMEOUT_USEC=30000000") >= 2
            assert "STOPPING=1" in said
            assert "WATCHDOG=1" in said
            await supervisor.silence("EXTEND_TIMEOUT_USEC=30000000", 2 * BEAT_SECONDS)

    asyncio.run(end())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "idle, on the processor: no job that fits is waiting"),
        ({"gpus": [{}, {}]}, "idle, on 2 GPUs: no job that fits is waiting"),
        ({"leases": [{}]}, "1 job running, room for 1 more"),
        ({"paused": "by its owner", "leases": [{}, {}]}, "2 jobs running; paused: by its owner"),
        ({"connection": "offline", "outbox": 3}, "the coordinator http://c cannot be reached; 3 results to send"),
        ({"services": []}, "idle: this machine offers no service; `aitbc-agent doctor` says why"),
    ],
)  # fmt: skip
def test_the_line_says_what_runs_or_why_nothing_does(changes: dict[str, object], line: str) -> None:
    """From the miner's own status."""
    status = {
        "leases": [], "outbox": 0, "paused": None, "connection": "websocket", "coordinator": "http://c",
        "services": ["video_transcoding"], "gpus": [], "slots": {"total": 2, "free": 1},
        "now": {"no job that fits is waiting": 2},
    }  # fmt: skip
    assert activity.miner_line({**status, **changes}) == line
