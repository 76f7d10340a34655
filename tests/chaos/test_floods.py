"""A coordinator under attack by clients that exhaust its connections, its files, its memory and its time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from support.agents import Agent, running
from support.clients.raw_http import RawConnection
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER

pytestmark = pytest.mark.chaos

TESTS = Path(__file__).parents[1]
DESCRIPTORS = 1024
WORK_SECONDS = 0.25
"""Duration of each job of the scripted miner."""
RESULTS = {"text": "Hello", "processing_time": 0.25, "units": 1.0}
JOBS = 12
LIMIT_SECONDS = 180


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Agent]:
    """A coordinator that can open at most 1,024 files, its soft limit, which it cannot raise."""
    agent = Agent(tmp_path / "data", "coordinator", "--port", "0", AITBC_COORDINATOR__OPEN_ENROLMENT="true")
    agent.prefix = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with running(agent):
        yield agent


@contextmanager
def working(url: str) -> Iterator[None]:
    """Run a miner that takes the same time for every job."""
    miner = ScriptedMiner(url)
    assert miner.register().status_code == 200
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            for lease in miner.poll(slots=1, wait=1):
                stopping.wait(WORK_SECONDS)
                assert miner.complete(lease, RESULTS).status_code == 200

    thread = threading.Thread(target=work, name="miner")
    thread.start()
    try:
        yield
        assert thread.is_alive(), "the miner has failed"
    finally:
        stopping.set()
        thread.join(LIMIT_SECONDS)


@contextmanager
def flood(url: str, keys: list[str], *, many: bool) -> Iterator[threading.Event]:
    """Run all attacks from a separate process. The event is set when each has been tried."""
    with subprocess.Popen(
        [sys.executable, "-m", "support.clients.floods", url],
        cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as attackers:  # fmt: skip
        ready = threading.Event()

        def wait() -> None:
            assert attackers.stdout is not None
            if attackers.stdout.readline() == "ready\n":
                ready.set()

        threading.Thread(target=wait, name="attackers", daemon=True).start()
        assert attackers.stdin is not None
        attackers.stdin.write(json.dumps({"keys": keys, "many": many}) + "\n")
        attackers.stdin.flush()
        try:
            yield ready
            assert attackers.poll() is None, "the attackers have ended"
        finally:
            attackers.kill()


def one_job(agent: Agent) -> float:
    """Return the duration of a job from its submission to its result, on a new connection."""
    headers = {"Authorization": f"Bearer {agent.file['client_key']}", "Prefer": "wait=60"}
    begun = time.monotonic()
    with httpx.Client(base_url=agent.url, headers=headers, timeout=LIMIT_SECONDS) as client:
        answer = client.post("/v1/services/whisper/transcribe", json=WHISPER)
        assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    return time.monotonic() - begun


def attackers_keys(agent: Agent) -> list[str]:
    """Return fifty keys of one account, none of them the client's."""
    admin = {"Authorization": f"Bearer {agent.file['admin_key']}"}
    with httpx.Client(base_url=f"{agent.url}/v1", timeout=LIMIT_SECONDS) as http:
        account = http.post("/admin/accounts", json={"name": "attacker"}, headers=admin).json()["account_id"]
        body = {"role": "client", "name": "attack", "account_id": account}
        return [http.post("/admin/keys", json=body, headers=admin).json()["key"] for _ in range(50)]


def test_a_client_is_served_during_a_flood_of_every_kind(small: Agent) -> None:
    """1,100 half-open requests, 200 half-sent bodies, 50 streams of each of 50 keys, 100 uploads without end."""
    assert small.process is not None
    process = psutil.Process(small.process.pid)
    with working(small.url):
        usual = [one_job(small) for _ in range(JOBS)]
        keys = attackers_keys(small)
        for many in (False, True):
            attacked: list[float] = []
            with flood(small.url, keys, many=many) as ready:
                while not ready.is_set():
                    attacked.append(one_job(small))
                attacked += [one_job(small) for _ in range(JOBS)]
                descriptors = process.num_fds()
                health = httpx.get(f"{small.url}/v1/health", timeout=LIMIT_SECONDS)
            assert statistics.median(attacked) <= 2 * statistics.median(usual), (usual, attacked)
            slow = [seconds for seconds in attacked if seconds > 2 * max(usual) + 1]
            assert len(slow) <= len(attacked) / 10, (usual, attacked)  # the machine may be busy for a moment
            assert max(attacked) < 60, (usual, attacked)
            assert descriptors < DESCRIPTORS - 64
            assert health.json()["status"] == "ok"
    metrics = httpx.get(f"{small.url}/metrics", timeout=LIMIT_SECONDS).text
    assert 'connections_closed_total{reason="full"}' in metrics
    assert "Too many open files" not in small.log.read_text()


def test_a_body_of_57_megabytes_without_a_key_is_refused_cheaply(small: Agent) -> None:
    """Parsed, it would become 1.5 GB of empty lists, and block all requests for seconds."""
    assert small.process is not None
    process = psutil.Process(small.process.pid)
    body = b"[" + b"[]," * (19 * 2**20) + b"[]]"
    url = f"{small.url}/v1/miners/jobs/job_1/result"
    headers = {"Content-Type": "application/json"}
    assert httpx.get(f"{small.url}/v1/health").status_code == 200
    memory, busy = _memory_from_now(process.pid), sum(process.cpu_times()[:2])
    for key in ({}, {"Authorization": "Bearer session.miner_1.1.wrong"}):
        answer = httpx.post(url, content=body, headers={**headers, **key}, timeout=LIMIT_SECONDS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert _peak(process.pid) - memory < 16 * 2**20
    assert sum(process.cpu_times()[:2]) - busy < 0.5


READERS = 1000
EVENT = "x" * 16_000


def test_a_thousand_stalled_readers_use_bounded_memory(tmp_path: Path) -> None:
    settings = {
        "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
        "AITBC_COORDINATOR__STREAMS__CONNECTIONS_PER_ACCOUNT": "2000",
        "AITBC_COORDINATOR__CONNECTIONS__SEND_SECONDS": "20",
        "AITBC_LOG__LEVEL": "warning",
    }
    agent = Agent(tmp_path / "data", "coordinator", "--port", "0", **settings)
    with running(agent):
        assert agent.process is not None
        key = f"Bearer {agent.file['client_key']}"
        miner = ScriptedMiner(agent.url)
        assert miner.register().status_code == 200
        http = httpx.Client(base_url=agent.url, headers={"Authorization": key}, timeout=LIMIT_SECONDS)
        job_id = http.post("/v1/services/whisper/transcribe", json=WHISPER).json()["job_id"]
        (lease,) = miner.poll()
        readers = [
            RawConnection(agent.url, source=f"127.0.2.{number % 200 + 1}", buffer=4096)
            for number in range(READERS)
        ]
        for reader in readers:
            reader.begin("GET", f"/v1/jobs/{job_id}/events", Authorization=key)
        _until(lambda: _metric(agent, "aitbc_coordinator_feed_subscribers") == READERS)
        memory = _memory_from_now(agent.process.pid)
        for _ in range(20):  # 300 MB for all of them
            events = [{"kind": "token", "data": {"text": EVENT}}]
            assert miner.job(lease, "events", events=events).status_code == 204
        grown = _peak(agent.process.pid) - memory
        # Per reader, this process buffers the data above the high-water mark of writing, and one message.
        assert grown / READERS < 200 * 1024, f"{grown / READERS:.0f} bytes for each reader"
        _until(lambda: _metric(agent, "aitbc_coordinator_feed_subscribers") == 0)
        assert _metric(agent, 'aitbc_coordinator_connections_closed_total{reason="send"}') == READERS
        assert miner.complete(lease, RESULTS).status_code == 200
        for reader in readers:
            reader.socket.close()


def _metric(agent: Agent, name: str) -> float:
    lines = httpx.get(f"{agent.url}/metrics", timeout=LIMIT_SECONDS).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.2)


def _memory_from_now(pid: int) -> int:
    """Return the memory of a process in bytes, and reset its peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _peak(pid)


def _peak(pid: int) -> int:
    """Return the peak memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
