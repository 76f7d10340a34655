"""Every process of PostgreSQL stops while its connections stay open, as with a disk that hangs: replicas say so at once, and go on afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.agents import Agent
from support.jobs import submit
from support.servers import postgres
from support.servers.replicas import two_replicas

pytestmark = pytest.mark.chaos

LIMIT_SECONDS = 120
AT_ONCE_SECONDS = 5.0
"""Half of what a check of the database would take."""
PATIENT_SECONDS = 60


@contextmanager
def stopped(server: postgres.Server) -> Iterator[None]:
    """Stop all processes of a server, without those that begin meanwhile."""
    assert server.process is not None
    main = psutil.Process(server.process.pid)
    main.suspend()  # it starts no others from now on
    processes = [main, *main.children(recursive=True)]
    try:
        for process in processes[1:]:
            process.suspend()
        yield
    finally:
        for process in reversed(processes):
            os.kill(process.pid, signal.SIGCONT)


def health(replica: Agent) -> dict[str, Any]:
    answer = httpx.get(f"{replica.url}/v1/health", timeout=AT_ONCE_SECONDS)
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def until(replicas: tuple[Agent, Agent], database: str) -> None:
    """Ask the replicas for their health, as a load balancer does, until both know the state of the database."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        answers = [health(replica) for replica in replicas]
        if all(answer["services"]["database"] == database for answer in answers):
            return
        assert time.monotonic() < deadline, answers
        time.sleep(0.2)


def test_replicas_answer_while_the_database_hangs_and_go_on_afterwards(tmp_path: Path) -> None:
    with (
        postgres.running() as server,
        two_replicas(tmp_path, server.new_database(), AITBC_DATABASE__RETRY_SECONDS="8") as replicas,
    ):
        headers = {"Authorization": f"Bearer {replicas[0].file['client_key']}"}
        processes = [replica.process for replica in replicas]
        clients = [
            httpx.Client(base_url=replica.url, headers=headers, timeout=PATIENT_SECONDS)
            for replica in replicas
        ]
        for client in clients:
            submit(client)
        with stopped(server):
            until(replicas, "unhealthy")
            for client in clients:
                answer = client.get("/v1/jobs")
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
            assert all(health(replica)["services"]["database"] == "unhealthy" for replica in replicas)
            for replica in replicas:
                assert "degraded" in replica.cli("health").stdout
        until(replicas, "healthy")
        for client in clients:
            submit(client)
            client.close()
        assert all(process is not None and process.poll() is None for process in processes)
