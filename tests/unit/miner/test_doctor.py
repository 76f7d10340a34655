"""What the doctor finds, on a machine that is put into the states that it looks for."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.miner import capabilities, doctor
from agent.miner.doctor import Finding, examine, has_wal_reset_fault
from agent.settings import Settings
from nvml_shim.shim import DRIVER_NOT_LOADED, NvmlShim
from runners._base import Probe, Tools
from runners.ffmpeg import FFmpegRunner

REQUIRED_OF_AGENT_FILE = {"miner_id": "miner_1", "log_key": "k"}


class SilentRunner(FFmpegRunner):
    """A runner that works everywhere, so that these tests need no engine."""

    @classmethod
    def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
        return Probe(available=True, version="1", reasons=("A GPU would be faster.",))


@pytest.fixture(autouse=True)
def runners(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The installed runners; tests change them."""
    found: dict[str, Any] = {"video_transcoding": SilentRunner}
    monkeypatch.setattr(capabilities, "installed", lambda: found)
    return found


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def check(data_dir: Path, **settings: Any) -> dict[str, Finding]:
    chosen = {"coordinator": {"port": 0}, "models_dir": data_dir / "models", **settings}
    findings = asyncio.run(examine(Settings(data_dir=data_dir, **chosen)))
    return {finding.check: finding for finding in findings}


def test_a_sound_machine_has_no_fault_and_all_that_is_wrong_has_a_remedy(data_dir: Path):
    started = time.monotonic()
    found = check(data_dir)
    assert time.monotonic() - started < 5
    assert [finding for finding in found.values() if finding.status == "fault"] == []
    assert all((finding.remedy is None) == (finding.status == "ok") for finding in found.values())
    assert {"python", "data_directory", "secrets", "disk_data", "disk_models", "hardware", "sqlite"} <= set(
        found
    )
    assert {
        "ffmpeg",
        "ffprobe",
        "sandbox",
        "models",
        "gpu",
        "agent",
        "coordinator",
        "video_transcoding",
    } <= set(found)
    assert found["video_transcoding"].message == "video_transcoding is offered. A GPU would be faster."


def test_a_directory_that_others_may_look_into_is_named(data_dir: Path):
    data_dir.chmod(0o755)
    found = check(data_dir)["data_directory"]
    assert (found.status, found.remedy) == ("warning", f"Run: chmod 700 {data_dir}")


def test_a_directory_that_is_not_there_is_fine_if_it_can_be_made(data_dir: Path):
    assert check(data_dir / "new" / "one")["data_directory"].status == "ok"
    assert not (data_dir / "new").exists()


def test_a_directory_that_cannot_be_written_is_a_fault():
    found = check(Path("/proc/no-such-place"))["data_directory"]
    assert (found.status, found.message.partition(" ")[0]) == ("fault", "/proc")


@pytest.mark.parametrize("name", ["miner/identity.key", "log.key", "agent.json", "miner/api_key.json"])
def test_secrets_that_others_may_read_are_named(data_dir: Path, name: str):
    secret = data_dir / name
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("{}")
    secret.chmod(0o640)
    found = check(data_dir)["secrets"]
    assert (found.status, found.remedy) == ("fault", f"Run: chmod 600 {secret}")
    secret.chmod(0o600)
    assert check(data_dir)["secrets"].status == "ok"


@pytest.mark.parametrize(("free", "status"), [(2**30 - 1, "fault"), (2**30, "warning"), (10 * 2**30, "ok")])
def test_a_full_disk_is_noticed(data_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str):
    usage = psutil.disk_usage(str(data_dir))
    monkeypatch.setattr(psutil, "disk_usage", lambda _path: usage._replace(free=free))
    found = check(data_dir)
    assert (found["disk_data"].status, found["disk_models"].status) == (status, status)


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((3, 50, 7), False),
        ((3, 44, 6), False),
        ((3, 44, 9), False),
        ((3, 51, 2), True),
        ((3, 51, 0), True),
        ((3, 50, 6), True),
        ((3, 49, 9), True),
        ((3, 45, 0), True),
        ((3, 44, 5), True),
    ],
)
def test_which_versions_of_sqlite_have_the_fault(version: tuple[int, ...], faulty: bool):
    assert has_wal_reset_fault(version) is faulty


def test_the_version_of_sqlite_in_use_is_judged(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert check(data_dir)["sqlite"].status == "ok"
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert check(data_dir)["sqlite"].status == "warning"


def test_missing_programs_are_named_with_their_setting(data_dir: Path):
    found = check(data_dir, runners={"ffmpeg": "/nowhere/ffmpeg", "bubblewrap": "/nowhere/bwrap"})
    assert (found["ffmpeg"].status, found["ffmpeg"].message) == ("warning", "/nowhere/ffmpeg was not found.")
    assert "runners.ffmpeg" in found["ffmpeg"].remedy
    assert found["sandbox"].status == "fault"
    assert "runners.bubblewrap" in found["sandbox"].remedy


def test_a_sandbox_that_is_off_is_pointed_out(data_dir: Path):
    assert check(data_dir, runners={"sandbox": "off"})["sandbox"].status == "warning"


def test_services_that_are_not_offered_come_with_the_runners_reasons(data_dir: Path, runners: dict[str, Any]):
    class Broken(SilentRunner):
        @classmethod
        def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - the contract's signature
            return Probe(available=False, reasons=("The engine is missing; install it.",))

    runners["other_service"] = Broken
    found = check(data_dir)
    assert (found["other_service"].status, found["other_service"].remedy) == (
        "warning",
        "The engine is missing; install it.",
    )
    assert "services" not in found
    del runners["video_transcoding"]
    assert check(data_dir)["services"].status == "fault"


def test_a_check_that_hangs_or_breaks_costs_only_itself(
    data_dir: Path, runners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    release = threading.Event()
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 0.5)
    monkeypatch.setattr(doctor, "sandbox_fault", lambda _tools: release.wait(30))
    runners["video_transcoding"] = "not a runner"
    try:
        found = check(data_dir)
    finally:
        release.set()
    assert found["sandbox"].message == "This check did not end within 0.5 s."
    assert found["services"].message.startswith("This check failed (AttributeError")
    assert found["disk_data"].message


def test_models_on_disk_are_listed(data_dir: Path):
    assert "downloaded when a job needs them" in check(data_dir)["models"].message
    assert check(data_dir, runners={"model_download": False})["models"].status == "warning"
    model = data_dir / "models" / "tiny.en"
    model.mkdir(parents=True)
    (model / "model.bin").touch()
    assert check(data_dir)["models"].message.endswith(": tiny.en.")
    (data_dir / "models.toml").write_text("[[models]]\nname = '../x'\n")
    found = check(data_dir)["models"]
    assert (found.status, "models.toml is wrong at models.0.name" in found.message) == ("fault", True)


def test_the_gpus_are_listed_or_what_is_wrong_with_them(nvml: NvmlShim):
    program = (
        "import asyncio, json, sys; from dataclasses import asdict; from agent.miner import doctor;"
        "import structlog; structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr));"
        "print(json.dumps(asdict(asyncio.run(doctor._check_gpu())[0])))"
    )

    def look() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=nvml.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return json.loads(done.stdout)

    card = "NVIDIA GeForce RTX 4090 (24.0 GiB, driver 570.86.15)"
    assert look() == {"check": "gpu", "status": "ok", "message": f"{card}, {card}.", "remedy": None}
    nvml.init = DRIVER_NOT_LOADED
    nvml.write()
    found = look()
    assert found["status"] == "warning"
    assert "modprobe nvidia" in found["remedy"]


def write_agent_file(data_dir: Path, pid: int, url: str = "http://127.0.0.1:9") -> None:
    content = {"url": url, "pid": pid, **REQUIRED_OF_AGENT_FILE}
    (data_dir / "agent.json").write_text(json.dumps(content))
    (data_dir / "agent.json").chmod(0o600)


def test_a_running_agent_is_found_by_its_file(data_dir: Path):
    write_agent_file(data_dir, os.getpid())
    found = check(data_dir)["agent"]
    assert (found.status, found.message) == (
        "ok",
        f"An agent runs in this data directory (process {os.getpid()}, http://127.0.0.1:9).",
    )


def test_a_file_that_a_dead_agent_left_means_nothing_even_if_its_number_lives_on(data_dir: Path):
    with subprocess.Popen(["true"]) as process:
        process.wait(10)
    write_agent_file(data_dir, process.pid)
    assert check(data_dir)["agent"].message == "No agent runs in this data directory."
    write_agent_file(data_dir, os.getpid())
    before = psutil.Process().create_time() - 100
    os.utime(data_dir / "agent.json", (before, before))
    assert check(data_dir)["agent"].message == "No agent runs in this data directory."


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "url": "u"}', '{"pid": -1, "url": "u"}'])
def test_a_damaged_file_is_no_agent(data_dir: Path, content: str):
    (data_dir / "agent.json").write_text(content)
    assert check(data_dir)["agent"].message == "No agent runs in this data directory."


def test_a_port_that_another_program_has_is_a_fault(data_dir: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = check(data_dir, coordinator={"port": port})["agent"]
        assert found.status == "fault"
        assert f"127.0.0.1 port {port}: another program listens there" in found.message
        joining = check(data_dir, coordinator={"port": port}, miner={"coordinator": "http://127.0.0.1:9"})
        assert joining["agent"].status == "ok"
    assert check(data_dir, coordinator={"port": port})["agent"].status == "ok"


def test_an_address_that_is_not_this_machines_is_a_fault(data_dir: Path):
    found = check(data_dir, coordinator={"host": "192.0.2.1", "port": 8420})["agent"]
    assert (found.status, "coordinator.host" in found.remedy) == ("fault", True)


@contextmanager
def health(status: int = 200, clock: float = 0.0) -> Iterator[str]:
    """A coordinator that answers with `status` and a clock that is `clock` seconds off."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status if self.path == "/v1/health" else 404)
            self.send_header("Date", formatdate(time.time() + clock, usegmt=True))
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    ("clock", "status", "words"),
    [
        (0, "ok", "agrees"),
        (20, "warning", "behind"),
        (-20, "warning", "ahead"),
        (3600, "fault", "3600 s behind"),
    ],
)
def test_the_clocks_difference_to_the_coordinator_is_judged(
    data_dir: Path, clock: float, status: str, words: str
):
    with health(clock=clock) as url:
        found = check(data_dir, miner={"coordinator": f"{url}/"})
    assert found["coordinator"].status == "ok"
    assert found["clock"].status == status
    assert words in found["clock"].message.replace("3599", "3600")


def test_a_coordinator_that_is_away_or_is_none_is_a_fault(data_dir: Path):
    with health(status=404) as url:
        found = check(data_dir, miner={"coordinator": url})["coordinator"]
        assert (found.status, f"{url} answers 404" in found.message) == ("fault", True)
    gone = check(data_dir, miner={"coordinator": url})["coordinator"]
    assert (gone.status, f"{url} does not answer" in gone.message) == ("fault", True)
    assert check(data_dir, miner={"coordinator": "nonsense"})["coordinator"].status == "fault"


def test_a_running_agents_own_coordinator_is_asked(data_dir: Path):
    with health() as url:
        write_agent_file(data_dir, os.getpid(), url)
        assert check(data_dir)["coordinator"].message.startswith(f"{url} answers in ")
