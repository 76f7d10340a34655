"""Three replicas are upgraded one after the other to a version that adds to the database, and one goes back, while people work."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx
import psycopg
import pytest
import structlog

from aitbc import AITBCClient
from support.agents import Agent, running
from support.jobs import WHISPER
from support.servers import postgres
from support.servers.load import Balancer, Load
from support.servers.replicas import add_replica
from support.versions import following
from support.versions.installed import NEXT, THIS, installed

pytestmark = pytest.mark.acceptance

RATE = 5.0
"""Jobs per second besides those of people, so few that a busy machine has none left over."""
STEADY_SECONDS = 5.0
"""How long people work after each step."""
LIMIT_SECONDS = 300
PROGRAM = """import time
def predict(input, seconds):
    time.sleep(seconds)
    return {"answer": 42}
"""

log = structlog.get_logger()


class Site:
    """Replicas behind a load balancer. One that is about to stop gets no new connections."""

    def __init__(self, first: Agent, directory: Path) -> None:
        self.replicas = [first, *(add_replica(first, name) for name in ("second", "third"))]
        self.resting: set[Agent] = set()
        self.balancer = Balancer(
            lambda: [replica.port for replica in self.replicas if replica not in self.resting]
        )
        self.directory = directory

    def change(self, replica: Agent, version: str) -> None:
        """Stop a replica, as an operator does, and start it with another version."""
        self.resting.add(replica)
        assert replica.stop() == 0
        replica.program = installed(version).agent
        replica.start()
        self.resting.remove(replica)
        answer = httpx.get(f"{replica.url}/v1/health", timeout=LIMIT_SECONDS)
        assert answer.json()["version"] == version


class People:
    """Clients that use the API without a pause. `failures` has the requests that failed, with the SDK's usual retries or without any."""

    def __init__(self, url: str, key: str) -> None:
        self.failures: list[str] = []
        self.requests = itertools.count()
        self.stopping = threading.Event()
        self._url, self._key = url, key
        self._threads = [
            threading.Thread(target=self._repeat, args=(act,))
            for act in (self._run_jobs, self._run_jobs, self._read_without_retries)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)

    def _repeat(self, act: Callable[[], None]) -> None:
        while not self.stopping.is_set():
            try:
                act()
            except Exception as error:  # noqa: BLE001 - each is a failure of the test
                self.failures.append(f"{act.__name__}: {error!r}")

    def _run_jobs(self) -> None:
        """Submit a job, follow it to its end, and read its results and receipt."""
        with AITBCClient(api_key=self._key, base_url=self._url) as client:
            while not self.stopping.is_set():
                job = client.jobs.create(
                    {"type": "whisper-transcription", "parameters": WHISPER}, idempotency_key=f"{next(_keys)}"
                )
                assert client.jobs.wait(job.job_id, timeout=LIMIT_SECONDS).status == "completed"
                assert client.jobs.get_results(job.job_id).results["text"] == "hi"
                assert client.receipts.get(job.job_id).job_id == job.job_id
                for _ in range(4):
                    next(self.requests)

    def _read_without_retries(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = httpx.get(f"{self._url}/v1/jobs", headers=headers, timeout=LIMIT_SECONDS)
        assert answer.status_code == 200, answer.text
        next(self.requests)


_keys = itertools.count()


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


def test_replicas_are_upgraded_without_a_failed_request_or_a_lost_job(
    tmp_path: Path, server: postgres.Server
) -> None:
    url = server.new_database("template0")
    (tmp_path / "artifacts").mkdir()
    environment = {
        "AITBC_DATABASE__URL": url,
        "AITBC_ARTIFACTS__URL": (tmp_path / "artifacts").as_uri(),
        "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    }
    first = Agent(tmp_path / "first", "coordinator", "--port", "0", **environment)
    first.program = installed(THIS).agent
    installed(NEXT)
    with ExitStack() as stack:
        stack.enter_context(running(first))
        site = Site(first, tmp_path)
        stack.callback(site.balancer.close)
        for replica in site.replicas[1:]:
            replica.program = first.program
            stack.enter_context(running(replica))
        miner = Agent(tmp_path / "miner", "start", "--coordinator", site.balancer.url)
        miner.program = first.program
        stack.enter_context(running(miner))
        client = stack.enter_context(
            AITBCClient(api_key=first.file["client_key"], base_url=site.balancer.url)
        )
        load = Load(site.balancer.url, first.file["client_key"], rate=RATE)
        load.start()
        stack.callback(load.stopping.set)
        (tmp_path / "program.py").write_text(PROGRAM)
        with People(site.balancer.url, first.file["client_key"]) as people:
            long_job = client.services.run(tmp_path / "program.py", parameters={"seconds": 60})
            time.sleep(STEADY_SECONDS)
            began = time.monotonic()
            for replica, version in (
                *((replica, NEXT) for replica in site.replicas),
                (site.replicas[2], THIS),
            ):
                site.change(replica, version)
                time.sleep(STEADY_SECONDS)
            took = time.monotonic() - began
            done = client.jobs.wait(long_job.job_id, timeout=LIMIT_SECONDS)
        load.drain(LIMIT_SECONDS)
    with psycopg.connect(url) as connection:
        counts = "SELECT count(*), count(*) FILTER (WHERE state = 'completed'), sum(fence - 1) FROM jobs"
        jobs, completed, again = connection.execute(counts).fetchone() or (0, 0, 0)
        receipts = connection.execute("SELECT count(*) FROM receipts").fetchone()
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    requests = next(people.requests)
    log.info("upgraded", seconds=f"{took:.0f}", requests=requests, jobs=jobs, assigned_again=int(again))
    assert people.failures == []
    assert (done.status, done.attempts) == ("completed", 1)
    assert (revision, jobs, receipts) == ((following.REVISION,), completed, (completed,))
    assert jobs > len(load.submitted)
