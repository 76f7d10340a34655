"""The doctor's checks of ports, running agents and coordinators."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent import __version__
from agent.coordinator.features.enrolments import enrolments
from agent.diagnostics import Diagnostic
from agent.miner.doctor import _network
from agent.miner.identity import load_identity
from agent.miner.machine import capabilities
from miner_support.examined import examined
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

HEALTHY = {
    "status": "ok",
    "version": __version__,
    "services": {"database": "healthy", "blockchain": "healthy"},
}


@pytest.fixture(autouse=True)
def runners(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runners, since these tests need none."""
    monkeypatch.setattr(capabilities, "installed", dict)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def joining(data_dir: Path, url: str, **miner: Any) -> dict[str, Diagnostic]:
    return examined(data_dir, miner={"coordinator": url, **miner})


@contextmanager
def held(data_dir: Path, content: str | None = None) -> Iterator[None]:
    """An agent that has locked the data directory (this process), and its description."""
    if content is not None:
        (data_dir / "agent.json").write_text(content)
        (data_dir / "agent.json").chmod(0o600)
    with (data_dir / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def agent_file(url: str) -> str:
    return json.dumps({"url": url, "pid": os.getpid(), "miner_id": "miner_1", "log_key": "k"})


@contextmanager
def health(
    body: Any = HEALTHY, *, status: int = 200, clock: float = 0.0, secure: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A coordinator that answers with `body` and `status`, and whose clock differs by `clock` seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status if self.path == "/v1/health" else 404)
            self.send_header("Date", formatdate(time.time() + clock, usegmt=True))
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self) -> None:
            self.send_response_only(404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if secure is not None:
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http{'s' if secure else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(60)


def test_a_running_agent_is_found_and_its_coordinator_checked(data_dir: Path) -> None:
    with health() as url, held(data_dir, agent_file(url)):
        diagnostics = examined(data_dir)
    assert (
        diagnostics["agent"].message
        == f"An agent runs in this data directory (process {os.getpid()}, {url})."
    )
    assert diagnostics["coordinator"].message.startswith(f"{url} answers in ")


def test_an_agent_that_is_older_than_its_coordinator_should_be_updated(data_dir: Path) -> None:
    major, minor, _ = __version__.split(".", 2)
    newer = f"{major}.{int(minor) + 1}.0"
    with health({**HEALTHY, "version": newer}) as url, held(data_dir, agent_file(url)):
        diagnostics = examined(data_dir)
    assert diagnostics["coordinator"].message.startswith(f"{url} answers in ")
    assert f"is older than the coordinator's, {newer}" in diagnostics["version_outdated"].message


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"pid": "x", "url": "u"}'])
def test_an_agent_that_uses_the_directory_without_being_ready_is_reported(
    data_dir: Path, content: str | None
) -> None:
    """With the process id from the kernel."""
    with held(data_dir, content):
        diagnostic = examined(data_dir)["data_directory_in_use"]
    assert f"process {os.getpid()}" in diagnostic.message
    assert f"kill {os.getpid()}" in (diagnostic.remedy or "")


def test_the_file_of_a_dead_agent_is_ignored(data_dir: Path) -> None:
    with held(data_dir, agent_file("http://127.0.0.1:9")):
        pass
    assert examined(data_dir)["agent"].message == "No agent runs in this data directory."


def test_a_port_in_use_is_a_fault(data_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        diagnostic = examined(data_dir, coordinator={"port": port})["port_taken"]
        assert f"127.0.0.1 port {port}: another program listens there" in diagnostic.message
        own = examined(data_dir, coordinator={"port": port}, miner={"coordinator": "http://127.0.0.1:9"})
        assert "port_taken" not in own
    assert "agent" in examined(data_dir, coordinator={"port": port})


def test_an_address_of_another_machine_is_a_fault(data_dir: Path) -> None:
    diagnostic = examined(data_dir, coordinator={"host": "192.0.2.1", "port": 8420})["address_unusable"]
    assert "coordinator.host" in (diagnostic.remedy or "")


@pytest.mark.parametrize(
    ("clock", "kind", "words"),
    [
        (0, "clock", "agrees"),
        (20, "clock_inexact", "behind"),
        (-20, "clock_inexact", "ahead"),
        (3600, "clock_wrong", "3600 s behind"),
    ],
)
def test_the_clocks_difference_to_the_coordinator_is_checked(
    data_dir: Path, clock: float, kind: str, words: str
) -> None:
    with health(clock=clock) as url:
        diagnostics = joining(data_dir, f"{url}/")
    assert "coordinator" in diagnostics
    assert words in diagnostics[kind].message.replace("3599", "3600")


def test_a_server_that_is_not_a_coordinator_is_reported(data_dir: Path) -> None:
    with health(status=404) as url:
        assert f"{url} answers 404" in joining(data_dir, url)["coordinator_wrong"].message
    with health(["a page"]) as url:
        assert "coordinator_wrong" in joining(data_dir, url)


def test_a_degraded_coordinator_is_reported(data_dir: Path) -> None:
    with health(
        {
            "status": "degraded",
            "version": __version__,
            "services": {"database": "healthy", "blockchain": "unhealthy"},
        }
    ) as url:
        diagnostic = joining(data_dir, url)["coordinator_degraded"]
    assert diagnostic.message.endswith("do not work: blockchain.")


def test_each_way_of_not_reaching_a_coordinator_has_its_own_diagnostic(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name, a closed port, one that never answers, an untrusted certificate, and no TLS at all."""
    monkeypatch.setattr(_network, "REQUEST_SECONDS", 2.0)
    assert "coordinator_unreachable" in joining(data_dir, "malformed")
    unknown = joining(data_dir, "https://no-such-host.invalid:8420/api")["coordinator_unknown"]
    assert "getent hosts no-such-host.invalid" in (unknown.remedy or "")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert "coordinator_refuses" in joining(data_dir, f"http://127.0.0.1:{port}")
        listener.listen()
        silent = joining(data_dir, f"http://127.0.0.1:{port}")["coordinator_silent"]
        assert "within 2 s" in silent.message
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(secure)
    with health(secure=secure) as url:
        strange = joining(data_dir, url)["coordinator_certificate"]
        assert "unable to get local issuer certificate" in strange.message
    with health() as url:
        plain = joining(data_dir, url.replace("http:", "https:"))["coordinator_certificate"]
        assert "does not use TLS" in plain.message


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Served]:
    """A coordinator that accepts only miners with a token."""
    with serve(tmp_path / "coordinator", open_enrolment=False) as served:
        yield served


def test_the_coordinators_admission_is_checked_without_joining(data_dir: Path, closed: Served) -> None:
    """Without a token, with a wrong one, a valid one, and the same after its use. The check does not spend it."""
    token = closed.do(lambda context: enrolments.create(context, uses=1, valid_seconds=600)).enrolment_token
    assert "does not know your miner's key" in joining(data_dir, closed.url)["enrolment_refused"].message
    wrong = joining(data_dir, closed.url, enrolment_token=f"{token}x")["enrolment_refused"]
    assert "unknown, expired, revoked or used up" in wrong.message
    assert "aitbc-agent enroll" in (wrong.remedy or "")
    for _ in range(2):
        assert "enrolment" in joining(data_dir, closed.url, enrolment_token=token)
    assert ScriptedMiner(closed.url).register(enrolment_token=token).status_code == 200
    assert "enrolment_refused" in joining(data_dir, closed.url, enrolment_token=token)


def test_a_miner_that_has_joined_needs_no_token(data_dir: Path, closed: Served) -> None:
    identity = load_identity(data_dir / "miner")
    token = closed.do(lambda context: enrolments.create(context, uses=1, valid_seconds=600)).enrolment_token
    miner = ScriptedMiner(closed.url, identity.signing_key)
    assert miner.register(enrolment_token=token).status_code == 200
    assert "enrolment" in joining(data_dir, closed.url)
