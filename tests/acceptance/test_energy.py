"""A whole agent on a machine with two cards: the energy of its jobs, what is left of their price, and what is not worth it.

NVML is a stand-in (no machine that runs these tests has a GPU); the agent, its history and the address with the price are real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient
from support.machines.two_cards import WAIT_SECONDS, Rig, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

WATTS = (300, 20)
"""The power of the two cards."""


class Exchange(ThreadingHTTPServer):
    """A server that answers the current price of electricity."""

    price = 0.3

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Exchange

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"now": {"price": %f}}' % self.server.price)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def exchange() -> Iterator[Exchange]:
    with Exchange(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def consuming(rig: Rig) -> Iterator[None]:
    """Let the cards' counters count while the block runs."""
    ended = threading.Event()
    began = time.monotonic()

    def count() -> None:
        while not ended.wait(0.05):
            seconds = time.monotonic() - began
            for index, watts in enumerate(WATTS):
                rig.shim.change(index, energy=1_000_000 + int(seconds * watts * 1000))

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def run_job(rig: Rig, gate: str, seconds: float) -> str:
    """Run a job of 1000 units that lasts so long."""
    job = rig.submit("small", gate, text="x" * 1000)
    rig.until(lambda miner: any(lease["stage"] == "running" for lease in miner["leases"]))
    time.sleep(seconds)
    rig.open(gate)
    assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    rig.until(lambda miner: any(record["job_id"] == job for record in miner["energy"]["jobs"]))
    return job


def test_an_owner_sees_what_is_left_after_electricity_and_works_only_while_it_is_enough(
    tmp_path: Path,
) -> None:
    """The figures survive a kill. When electricity becomes dear, the model accepts no jobs, and says why; when it is cheap again, it does."""
    with (
        exchange() as market,
        working(
            tmp_path,
            AITBC_MINER__DEFAULT_PRICE="0.00001",
            AITBC_MINER__ENERGY__PRICE_URL=market.url,
            AITBC_MINER__ENERGY__PRICE_PATH="now.price",
            AITBC_MINER__ENERGY__PRICE_SECONDS="10",
            AITBC_MINER__ENERGY__CURRENCY="EUR",
            AITBC_MINER__ENERGY__MINIMUM_PROFIT="0",
        ) as rig,
        consuming(rig),
    ):
        job = run_job(rig, "first", 3)
        miner = rig.until(lambda miner: miner["energy"]["today"]["earned"] == "0.01")
        record = miner["energy"]["jobs"][0]
        joules = record["kwh"] * 3_600_000
        # Of the card that ran it, and not of the other one. Starting the next run takes some of the time on a busy machine.
        assert joules / record["seconds"] == pytest.approx(WATTS[0], rel=0.2)
        assert record["seconds"] > 3
        assert float(record["net"]) == pytest.approx(0.01 - record["kwh"] * 0.3)
        for row in (job, record["net"]):
            assert row in rig.agent.cli("earnings", "--by", "job").stdout
        operator = AITBCClient(rig.agent.file["admin_key"], rig.agent.url)
        machine = operator.miners.get(miner["miner_id"]).to_dict()
        assert machine["energy"]["today"]["earned"] == "0.01"
        rig.agent.kill()
        rig.agent.start()
        assert rig.miner()["energy"]["today"]["jobs"] == 1
        run_job(rig, "second", 1)
        run_job(rig, "third", 1)
        assert rig.miner()["energy"]["unprofitable"] == []
        market.price = 900.0
        miner = rig.until(lambda miner: miner["energy"]["unprofitable"])
        assert "minimum_profit" in miner["unavailable_models"]["cards"]["small"]
        assert "is not worth it" in rig.agent.cli("status").stdout
        rig.until(lambda _: "small" not in rig.client.registry.get("cards").to_dict()["ready"])
        waiting = rig.submit("small")
        other = rig.submit("middle")
        assert rig.client.jobs.wait(other, WAIT_SECONDS).status == "completed"
        assert rig.client.jobs.get(waiting).status == "submitted"
        market.price = 0.3
        assert rig.client.jobs.wait(waiting, WAIT_SECONDS).status == "completed"
