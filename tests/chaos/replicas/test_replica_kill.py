"""Replicas and their database are killed under load: nothing is lost, no job is done twice, and the rest goes on at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog

from support.agents import Agent
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.servers import postgres
from support.servers.load import RATE, RESULTS, Balancer, Load
from support.servers.replicas import two_replicas

pytestmark = pytest.mark.chaos

STEADY_SECONDS = 4.0
"""How long the rate is measured at a time."""
RECOVERY_SECONDS = 60.0
"""Time in which the rate must be reached again: seconds, but on a busy machine longer."""
REPLACED_SECONDS = 10.0
RECOVERED = 0.85
"""Part of the submitted jobs that must be completed again. A few are under way when the time is over."""

log = structlog.get_logger()


@dataclass
class Site:
    """Two replicas behind a load balancer, their server, and the load."""

    server: postgres.Server
    url: str
    replicas: tuple[Agent, Agent]
    load: Load


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    environment = {
        "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
        "AITBC_COORDINATOR__LEASE_SECONDS": "6",
        "AITBC_COORDINATOR__HEARTBEAT_SECONDS": "1",
    }
    with postgres.running() as server:
        url = server.new_database()
        with two_replicas(tmp_path, url, **environment) as replicas:
            balancer = Balancer(lambda: [replica.port for replica in replicas])
            load = Load(balancer.url, replicas[0].file["client_key"])
            load.start()
            try:
                yield Site(server, url, replicas, load)
            finally:
                load.stopping.set()
                for miner in load.miners:
                    miner.stop()
                balancer.close()


def test_the_work_goes_on_after_every_failure(site: Site) -> None:
    first, second = site.replicas

    def end_all_sessions() -> None:
        with psycopg.connect(site.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    def restart_server() -> None:
        site.server.stop()
        site.server.start()

    def kill_miner() -> None:
        site.load.miners[0].stop()

    failures: list[tuple[str, Callable[[], None], Callable[[], object] | None]] = [
        ("the replica that does not lead is killed", second.kill, second.start),
        ("the leader is killed", first.kill, first.start),
        ("all sessions are ended", end_all_sessions, None),
        ("PostgreSQL restarts", restart_server, None),
        ("one of two miners ends", kill_miner, None),
    ]
    time.sleep(STEADY_SECONDS)
    for name, fail, repair in failures:
        failed = time.monotonic()
        fail()
        rate = 0.0
        while rate < RECOVERED and time.monotonic() < failed + RECOVERY_SECONDS:
            measured_from = time.monotonic()
            time.sleep(STEADY_SECONDS)
            rate = site.load.rate(measured_from, time.monotonic()) / RATE
        gap = _longest_gap(site.load, failed, time.monotonic())
        log.info("recovered", failure=name, rate=f"{rate:.0%}", longest_silence=f"{gap:.2f} s")
        assert rate >= RECOVERED, name
        if repair is not None:
            repair()
            time.sleep(1)
    site.load.drain(30)
    assert len(site.load.accepted) == len(site.load.submitted), "a job was completed twice"
    with psycopg.connect(site.url) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM jobs WHERE state = 'completed'), (SELECT count(*) FROM receipts)"
        ).fetchone()
    assert counts == (len(site.load.submitted), len(site.load.submitted))


def test_a_leader_that_hangs_is_replaced_and_returns(tmp_path: Path) -> None:
    """Its connections to the database stay open, so the others end them."""
    environment = {"AITBC_COORDINATOR__OPEN_ENROLMENT": "true"}
    with (
        postgres.running() as server,
        two_replicas(tmp_path, server.new_database(), **environment) as (first, second),
    ):
        assert first.process is not None
        miner = ScriptedMiner(second.url)
        assert miner.register().status_code == 200
        with (
            Socket(miner) as socket,
            closing(_client(first)) as at_first,
            closing(_client(second)) as at_second,
        ):
            first.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                socket.slots(1)
                job_id = submit(at_second)
                lease = socket.next_lease(REPLACED_SECONDS)
                log.info("replaced", seconds=f"{time.monotonic() - began:.1f}")
            finally:
                first.process.send_signal(signal.SIGCONT)
            assert lease is not None
            assert lease["job_id"] == job_id
            assert socket.call("result", job_id, miner.result_body(lease, RESULTS))[0] == 200
            socket.slots(1)
            job_id = submit(at_first)
            lease = socket.next_lease(REPLACED_SECONDS)
            assert lease is not None
            assert lease["job_id"] == job_id


def _client(replica: Agent) -> httpx.Client:
    headers = {"Authorization": f"Bearer {replica.file['client_key']}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=120)


def _longest_gap(load: Load, begin: float, end: float) -> float:
    moments = [begin, *sorted(moment for moment in list(load.accepted.values()) if begin < moment < end), end]
    return max(later - earlier for earlier, later in pairwise(moments))
