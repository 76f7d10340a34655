"""Replicas and their database are killed under load: nothing is lost, no job is done twice, and the rest goes on at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import structlog

from support import postgres
from support.agents import Agent
from support.load import RATE, Balancer, Load
from support.replicas import two_replicas

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

STEADY_SECONDS = 4.0
"""How long the rate is measured before and after a failure."""
RECOVERY_SECONDS = 5.0
RECOVERED = 0.95
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
        time.sleep(max(0.0, failed + RECOVERY_SECONDS - time.monotonic()))
        recovered = time.monotonic()
        time.sleep(STEADY_SECONDS)
        rate = site.load.rate(recovered, time.monotonic()) / RATE
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


def _longest_gap(load: Load, begin: float, end: float) -> float:
    moments = [begin, *sorted(moment for moment in list(load.accepted.values()) if begin < moment < end), end]
    return max(later - earlier for earlier, later in pairwise(moments))
