"""What a machine survives while it works: real agents, their own processes stopped, their clocks moved. Each ends with the job done."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from aitbc import AITBCClient, APIError
from campaign.world import DISK_SIZE, can_mount, full
from clock_shim.shim import Clocks
from support.agents import Agent, running

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

WAIT_SECONDS = 240
SUSPENDED_SECONDS = 600
FROZEN_SECONDS = 30
WORK_SECONDS = 25
SLEEPS = f"""
import time

def predict(input, **parameters):
    print("begun", flush=True)
    for _ in range({WORK_SECONDS}):
        time.sleep(1)
    return {{"done": True}}
"""


@contextmanager
def stopped(*agents: Agent) -> Iterator[None]:
    """Stop all processes of these agents, as a suspension does."""
    processes = []
    for agent in agents:
        assert agent.process is not None
        process = psutil.Process(agent.process.pid)
        processes += [process, *process.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)


def request() -> dict[str, Any]:
    body = {
        "type": "ai-inference", "input": {"type": "text"}, "output": {"type": "json"},
        "model": {"type": "python", "entrypoint": "model.py"}, "timeout_seconds": 300,
    }  # fmt: skip
    return {"body": body, "files": {"model.py": SLEEPS.encode(), "in.txt": b"."}}


def submit(client: AITBCClient) -> str:
    """Submit a job that works for `WORK_SECONDS`, and wait until it does."""
    job = client.jobs.create(**request()).job_id
    until(lambda: client.jobs.get(job).status == "running", "the job runs")
    time.sleep(2)
    return job


def done(client: AITBCClient, job: str) -> tuple[int, float]:
    """Wait until the job is completed. Return the number of its runs, and the seconds that the last one metered."""
    ended = client.jobs.wait(job, WAIT_SECONDS)
    assert ended.status == "completed", ended
    return ended.attempts, float(client.jobs.get_results(job).results["units"])


@contextmanager
def network(directory: Path, environment: dict[str, str]) -> Iterator[tuple[Agent, Agent]]:
    """Run a coordinator whose leases are short, and a miner with this environment."""
    coordinator = Agent(
        directory / "coordinator", "coordinator", "--port", "0",
        AITBC_COORDINATOR__OPEN_ENROLMENT="true", AITBC_COORDINATOR__LEASE_SECONDS="10",
        AITBC_COORDINATOR__HEARTBEAT_SECONDS="2",
    )  # fmt: skip
    with running(coordinator):
        miner = Agent(directory / "miner", "start", "--coordinator", coordinator.url, **environment)
        with running(miner):
            yield coordinator, miner


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


def test_a_job_is_not_metered_while_its_processes_are_frozen(tmp_path: Path) -> None:
    """As a container is frozen: the monotonic clock goes on."""
    agent = Agent(tmp_path / "data", "start", "--port", "0")
    with running(agent), agent.client() as client:
        began = time.monotonic()
        job = submit(client)
        with stopped(agent):
            time.sleep(FROZEN_SECONDS)
        _, units = done(client, job)
        # One of the job's seconds may have passed while it was frozen, and the second before may not count.
        assert WORK_SECONDS - 3 <= units <= time.monotonic() - began - FROZEN_SECONDS + 2


def test_a_job_survives_a_suspension_of_its_machine(tmp_path: Path, clocks: Clocks) -> None:
    """The coordinator is on the same machine. The run goes on: it is not repeated, and its suspension is not metered."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", **clocks.environment)
    with running(agent), agent.client() as client:
        job = submit(client)
        with stopped(agent):
            clocks.suspend(SUSPENDED_SECONDS)
        attempts, units = done(client, job)
        assert (attempts, WORK_SECONDS <= units < SUSPENDED_SECONDS) == (1, True)
        assert "clock_jumped" in agent.log.read_text()


def test_a_suspended_miner_works_again_at_once_and_its_job_is_done(tmp_path: Path, clocks: Clocks) -> None:
    """The coordinator is elsewhere, and its lease ends meanwhile. No other miner claimed the job, so the run goes on."""
    with network(tmp_path, clocks.environment) as (coordinator, miner), coordinator.client() as client:
        job = submit(client)
        with stopped(miner):
            clocks.suspend(SUSPENDED_SECONDS)
            until(lambda: client.jobs.get(job).status == "submitted", "the lease ends")
        assert done(client, job)[0] == 1
        assert miner.status()["miner"]["connection"] == "websocket"


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["forward", "back"])
def test_a_job_survives_a_change_of_the_clock(tmp_path: Path, clocks: Clocks, seconds: int) -> None:
    """Of coordinator and miner, by an hour. What is submitted afterwards is done too, and paid."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", **clocks.environment)
    with running(agent), agent.client() as client:
        job = submit(client)
        clocks.set(seconds)
        for ended in (job, submit(client)):
            attempts, units = done(client, ended)
            assert (attempts, units >= WORK_SECONDS) == (1, True)


@pytest.mark.parametrize("transport", ["auto", "poll"])
def test_an_owner_sees_within_a_minute_that_the_coordinator_is_silent(tmp_path: Path, transport: str) -> None:
    """It is frozen, so that connections to it stay open. Afterwards all is as before."""
    with network(tmp_path, {"AITBC_MINER__TRANSPORT": transport}) as (coordinator, miner):
        connected = "poll" if transport == "poll" else "websocket"
        until(lambda: miner.status()["miner"]["connection"] == connected, "the miner is connected")
        with stopped(coordinator):
            began = time.monotonic()
            until(lambda: miner.status()["miner"]["connection"] == "offline", "the owner sees the silence")
            assert time.monotonic() - began < 60
            assert miner.status()["miner"]["silent_since"] is not None
        until(lambda: miner.status()["miner"]["connection"] == connected, "the miner is connected again")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=300)


class Cable:
    """Two network namespaces with a cable between them, in which `coordinator.test` has the address of the first one."""

    def __init__(self, directory: Path) -> None:
        self.names = tuple(f"aitbc-{os.getpid()}-{side}" for side in ("c", "m"))
        self.hosts = Path("/etc/netns") / self.names[1] / "hosts"
        self._directory = directory

    def __enter__(self) -> Self:
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            "eth0",
            "netns",
            self.names[0],
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            self.names[1],
        )
        for name in self.names:
            ip("-n", name, "link", "set", "eth0", "up")
        self.hosts.parent.mkdir(parents=True)
        self.hosts.touch()
        self.move(0, 1)
        self.move(1, 2)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            ip("netns", "delete", name)
        shutil.rmtree(self.hosts.parent)

    def move(self, side: int, number: int) -> None:
        """Give one end another address. The name server knows it at once."""
        name = self.names[side]
        ip("-n", name, "address", "flush", "dev", "eth0")
        ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
        if side == 0:
            # In the same file, which is mounted where the miner reads it.
            self.hosts.write_text(f"127.0.0.1 localhost\n10.77.0.{number} coordinator.test\n")

    @contextmanager
    def inside(self, side: int) -> Iterator[None]:
        """Let this thread open its connections there."""
        library = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as former, open(f"/run/netns/{self.names[side]}") as there:  # noqa: PTH123 - as setns(2) takes them
            assert library.setns(there.fileno(), 0x40000000) == 0
            try:
                yield
            finally:
                library.setns(former.fileno(), 0x40000000)


def test_a_job_survives_another_address_of_the_miner_and_then_of_the_coordinator(tmp_path: Path) -> None:
    """Nobody closes the connections: packets are lost, as after a change of the provider or of the WiFi."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("it makes network namespaces: run it as root, with iproute2 installed")
    with Cable(tmp_path) as cable:
        coordinator = Agent(
            tmp_path / "coordinator", "coordinator", "--port", "0", "--host", "0.0.0.0",  # noqa: S104 - in a namespace of its own
            AITBC_COORDINATOR__OPEN_ENROLMENT="true", AITBC_COORDINATOR__HOSTS='["coordinator.test"]',
        )  # fmt: skip
        coordinator.prefix = ["ip", "netns", "exec", cable.names[0]]
        with running(coordinator):
            url = f"http://coordinator.test:{coordinator.port}"
            miner = Agent(tmp_path / "miner", "start", "--coordinator", url)
            miner.prefix = ["ip", "netns", "exec", cable.names[1]]
            with (
                running(miner),
                cable.inside(0),
                AITBCClient(coordinator.file["client_key"], f"http://127.0.0.1:{coordinator.port}") as client,
            ):
                for side, number in ((1, 3), (0, 4)):
                    job = submit(client)
                    cable.move(side, number)
                    assert done(client, job)[0] == 1
                    assert miner.status()["miner"]["connection"] != "offline"


@contextmanager
def own_disk(directory: Path) -> Iterator[None]:
    """Mount a disk for a data directory."""
    if not can_mount():
        pytest.skip("it mounts a disk of its own: run it as root")
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_jobs_survive_a_full_disk_of_the_miner(tmp_path: Path) -> None:
    """One ends while the disk is full, and one is submitted meanwhile."""
    with (
        own_disk(tmp_path / "miner"),
        network(tmp_path, {}) as (coordinator, miner),
        coordinator.client() as client,
    ):
        job = submit(client)
        with full(tmp_path / "miner"):
            second = client.jobs.create(**request()).job_id
            time.sleep(WORK_SECONDS + 10)
            assert miner.process is not None
            assert miner.process.poll() is None
        for each in (job, second):
            done(client, each)


def test_jobs_survive_a_full_disk_of_the_coordinator(tmp_path: Path) -> None:
    """What cannot be stored is refused with words, and what was accepted is done."""
    with (
        own_disk(tmp_path / "coordinator"),
        network(tmp_path, {}) as (coordinator, miner),
        coordinator.client() as client,
    ):
        job = submit(client)
        with full(tmp_path / "coordinator"):
            with pytest.raises(APIError) as refused:
                client.jobs.create(**request(), idempotency_key="while-it-is-full")
            time.sleep(WORK_SECONDS + 10)
        assert refused.value.code in {"SERVICE_UNAVAILABLE", "INSUFFICIENT_STORAGE"}
        done(client, job)
        done(client, client.jobs.create(**request()).job_id)
        assert miner.status()["miner"]["outbox"] == 0
