"""The connection to the coordinator, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from nacl.signing import SigningKey

from agent import __version__
from agent.core.errors import ConfigurationError
from agent.miner.backoff import Backoff
from agent.miner.identity import load_identity
from agent.miner.link.client import CoordinatorLink, LinkCallbacks
from agent.miner.link.http import is_loopback
from agent.miner.link.refusals import RegistrationRefused, Unreachable
from agent.miner.link.websocket import WebSocketRefused, open_websocket
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import until

pytestmark = pytest.mark.anyio

CAPABILITIES = {
    "services": {},
    "unavailable": {},
    "cpu_cores": 1,
    "memory": 1,
    "disk_free": 1,
    "gpus": [],
    "slots": 1,
}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


class Miner:
    """A link, and the calls that it made."""

    def __init__(self, url: str, directory: Path, transport: Any, log_key: str | None = None) -> None:
        self.leases: list[dict[str, Any]] = []
        self.cancelled: list[tuple[str, int]] = []
        self.connected = 0
        self.rechecks = 0
        self.excluded = 0
        self.changed = asyncio.Event()
        callbacks = LinkCallbacks(
            lease=lambda lease: self._note(self.leases.append, lease),
            cancelled=lambda job_id, fence: self._note(self.cancelled.append, (job_id, fence)),
            joining=lambda: {
                "name": "m", "agent_version": __version__, "enrolment_token": None, "capabilities": CAPABILITIES, "holding": [],
            },
            registered=lambda _: None,
            excluded=lambda: self._count("excluded"),
            connected=lambda: self._count("connected"),
            recheck=lambda: self._count("rechecks"),
        )  # fmt: skip
        self.link = CoordinatorLink(url, load_identity(directory), transport=transport, log_key=log_key)
        self.link.attach(callbacks)

    def _note(self, add: Any, item: Any) -> None:
        add(item)
        self.changed.set()

    def _count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)
        self.changed.set()

    async def until(self, condition: Any, limit: float = 120) -> None:
        async with asyncio.timeout(limit):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def joined(
    coordinator: FakeCoordinator, directory: Path, transport: str = "auto"
) -> AsyncIterator[Miner]:
    miner = Miner(coordinator.url, directory, transport)
    await asyncio.wait_for(miner.link.register(), 60)
    task = asyncio.create_task(miner.link.run())
    try:
        yield miner
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await miner.link.close()


async def test_announced_slots_are_absolute(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """Setting them again while leases are in transit never brings more leases than the last value."""
    async with joined(coordinator, tmp_path) as miner:
        for _ in range(20):
            await coordinator.submit("echo")
        for _ in range(50):
            miner.link.set_slots(max(0, 3 - len(miner.leases)))
            await asyncio.sleep(0.001)
        await miner.until(lambda: len(miner.leases) >= 3)
        miner.link.set_slots(0)
        assert (await miner.link.call("heartbeat", None, {"leases": [], "gpus": []}))[0] == 200
        assert len(miner.leases) == 3


async def test_a_poll_without_slots_ends_when_a_slot_is_free(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Such a poll would otherwise wait for half a minute."""
    async with joined(coordinator, tmp_path, "poll") as miner:
        await coordinator.until(lambda: [poll["slots"] for poll in coordinator.polls] == [0])
        await coordinator.submit("echo")
        began = time.monotonic()
        miner.link.set_slots(1)
        await miner.until(lambda: miner.leases)
        assert time.monotonic() - began < 20
        assert miner.rechecks == 1, "a cancellation may have been in transit"


async def test_a_lost_connection_is_opened_again(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with joined(coordinator, tmp_path) as miner:
        miner.link.set_slots(1)
        await miner.until(lambda: miner.link.connection == "websocket")
        [socket] = coordinator.sockets
        await socket.close(1012)
        await miner.until(lambda: miner.connected >= 2)
        await coordinator.submit("echo")
        await miner.until(lambda: miner.leases)


async def test_a_malformed_frame_closes_only_the_connection(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    async with joined(coordinator, tmp_path) as miner:
        miner.link.set_slots(1)
        for malformed in ("{", "[]"):
            before = miner.connected
            for socket in list(coordinator.sockets):
                await socket.send_text(malformed)
            await miner.until(lambda before=before: miner.connected > before)
        await coordinator.submit("echo")
        await miner.until(lambda: miner.leases)


async def test_a_message_of_a_newer_coordinator_is_answered_and_the_connection_goes_on(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The answer names the message and the miner's version."""
    async with joined(coordinator, tmp_path) as miner:
        miner.link.set_slots(1)
        await miner.until(lambda: miner.link.connection == "websocket")
        [connection] = coordinator.sockets
        unknown = (
            {"push": "colour", "of": "the sky"},
            {"push": {"new": 1}},
            {"push": "cancelled", "job": "job_1"},
            {"push": "lease"},
            {"id": None, "status": 404, "body": {}},
            {"id": 10**6, "status": 200, "body": {}, "new": 1},
            {},
        )
        for message in unknown:
            await connection.send_text(json.dumps(message))
        await coordinator.until(lambda: len(coordinator.not_understood) == 4)
        names = [body["message"] for body in coordinator.not_understood]
        assert names == ["colour", "{'new': 1}", "cancelled", "lease"]
        assert {body["agent_version"] for body in coordinator.not_understood} == {__version__}
        assert coordinator.sockets == {connection}
        await coordinator.submit("echo")
        await miner.until(lambda: miner.leases)


async def test_calls_fall_back_to_http(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    coordinator.websocket = False
    async with joined(coordinator, tmp_path) as miner:
        status, answer = await miner.link.call("heartbeat", None, {"leases": [], "gpus": []})
        assert (status, answer) == (200, {"leases": [], "commands": []})


async def test_a_stopped_coordinator_is_unreachable(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    async with joined(coordinator, tmp_path) as miner:
        await coordinator.stop()
        with pytest.raises(Unreachable, match="does not answer"):
            await miner.link.call("heartbeat", None, {"leases": [], "gpus": []}, limit=2)
        assert miner.link.connection == "offline"


@pytest.mark.parametrize(("version", "joins"), [(__version__, True), ("0.1.0", False), ("", False)])
async def test_a_coordinator_that_does_not_compare_versions_is_asked_for_its_own(
    coordinator: FakeCoordinator, tmp_path: Path, version: str, joins: bool
) -> None:
    """No session begins at a coordinator whose leases this miner might not understand."""
    coordinator.version, coordinator.health_version = None, version
    miner = Miner(coordinator.url, tmp_path, "auto")
    registering = asyncio.create_task(miner.link.register())
    await until(lambda: registering.done() or miner.link.refusal is not None)
    assert registering.done() is joins
    assert len(coordinator.registrations) == joins
    assert joins or (version or "unknown") in str(miner.link.refusal)
    registering.cancel()
    await asyncio.wait([registering])
    await miner.link.close()


async def test_a_silent_coordinator_counts_as_offline_from_its_last_answer(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Over a WebSocket that stays open; it is connected again with the next answer."""
    async with joined(coordinator, tmp_path) as miner:
        link = miner.link
        await miner.until(lambda: link.connection == "websocket")
        answered = time.time()
        assert (await link.call("heartbeat", None, {"leases": [], "gpus": []}))[0] == 200
        coordinator.silent = True
        with pytest.raises(Unreachable):
            await link.call("heartbeat", None, {"leases": [], "gpus": []}, limit=0.05)
        assert link.connection == "offline"
        assert answered - 1 <= (link.silent_since or 0) <= time.time()
        coordinator.silent = False
        assert (await link.call("heartbeat", None, {"leases": [], "gpus": []}))[0] == 200
        assert (link.connection, link.silent_since) == ("websocket", None)


async def test_a_frozen_coordinator_is_not_connected_by_polling(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port still accepts connections; nothing answers."""
    monkeypatch.setattr("agent.miner.link.websocket._OPEN_SECONDS", 0.2)
    async with joined(coordinator, tmp_path) as miner:
        await miner.until(lambda: miner.link.connection == "websocket")
        await coordinator.stop()
        with socket.create_server(("127.0.0.1", coordinator.port)):
            await until(miner.link._polling.active.is_set)
            assert miner.link.connection == "offline"
            assert miner.link.silent_since is not None


async def test_a_miner_refuses_a_coordinator_with_another_log_key_than_it_joined(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """It does not send its token there."""
    key = coordinator.vkey
    await Miner(coordinator.url, tmp_path, "auto", log_key=key).link.register()
    assert len(coordinator.registrations) == 1
    coordinator.log_key = SigningKey.generate()
    with pytest.raises(
        RegistrationRefused, match="Another coordinator than the one that this machine has joined"
    ):
        await Miner(coordinator.url, tmp_path, "auto", log_key=key).link.register()
    assert len(coordinator.registrations) == 1


async def test_another_server_is_distinguished_from_a_coordinator(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(RegistrationRefused, match="does not speak this agent's protocol"):
        await Miner(url, tmp_path, "auto").link.register()
    server.close()


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "ftp://example.com", "https://"])
async def test_invalid_addresses_are_explained(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="coordinator's address"):
        Miner(url, tmp_path, "auto")


def test_only_loopback_addresses_bypass_the_proxy() -> None:
    assert [is_loopback(f"http://{host}/api") for host in ("127.0.0.1:1", "[::1]:1", "localhost")] == [
        True
    ] * 3
    assert not is_loopback("https://example.com")


def test_backoff_grows_with_jitter_up_to_a_limit() -> None:
    backoff = Backoff(1, 10)
    delays = [backoff.next() for _ in range(10)]
    ceilings = [1, 2, 4, 8] + [10] * 6
    assert all(ceiling / 2 <= delay <= ceiling for delay, ceiling in zip(delays, ceilings, strict=True))
    backoff.reset()
    assert backoff.next() <= 1


def test_a_connection_that_ends_before_the_handshake_counts_as_refused() -> None:
    """A coordinator that dies at that moment has accepted it in the kernel. The miner must survive this.

    Tested on uvloop, as the agent runs: it detects the end before the request is written.
    """

    def hang_up() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    async def attempt() -> None:
        for _ in range(20):
            with pytest.raises(WebSocketRefused):
                await open_websocket(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    try:
        uvloop.run(attempt())
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)
