"""`kill -9` at every step of batches of payouts, with each adapter: nobody is paid twice, and nothing is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.coordinator.features.payouts.rules import PaymentState
from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.features.webhooks.sender import make_secret
from agent.coordinator.store import ledger
from agent.coordinator.store.engines import snapshot
from agent.fault_points import VARIABLE
from agent.settings import Settings
from support.payouts.process import EARNED, MINERS, PAYMENTS, miner, read_all
from support.servers import postgres
from support.servers.evm_chain import CHAIN_ID, KEY, EvmChain
from support.servers.lightning_node import PAYEE, Behaviour, LightningNode
from support.servers.payment_service import PaymentService

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

TESTS = Path(__file__).parents[1]
BATCHES = int(os.environ.get("PAYOUT_BATCHES", "0"))
"""Batches of each adapter; 0: as many as there are steps, so that each step is hit once."""
RATES = {"file": "0.91", "http": "0.91", "evm": "1.5", "lightning": "0.0001"}

WRITES = ("_create", "_approve", "_store_prepared", "claim", "_store_answer")
"""The transactions of a batch, at whose commits the process is killed."""
STEPS = [
    *(f"database.{when}_commit:{write}" for write in WRITES for when in ("before", "after")),
    *("payout.prepared", "payout.sending", "payout.sent", "payout.polled"),
]
MORE: dict[str, list[str]] = {
    "file": [
        "payout.file_written:json",
        "payout.file_written:csv",
        "database.before_commit:_report",
        "database.after_commit:_report",
    ],
    "http": ["payout.answered"],
    "evm": ["payout.answered"],
    "lightning": ["payout.answered", "database.before_commit:hand_in", "database.after_commit:hand_in"],
}


CHANCES = 3
"""Batches in which a step can be reached."""


class World:
    """What payments are made with, outside the process that is killed. `paid` returns what arrived, by address or payment."""

    def __init__(self, settings: dict[str, Any], addresses: list[str], check: Callable[[list[Any]], None]):
        self.settings = settings
        self.addresses = addresses
        self.check = check


@contextmanager
def file_world(directory: Path) -> Iterator[World]:
    folder = directory / "bank"

    def check(payments: list[Any]) -> None:
        named = defaultdict(list)
        for path in folder.glob("*.json"):
            assert path.with_suffix(".csv").exists()
            for payment in json.loads(path.read_text())["payments"]:
                named[payment["payout_id"]].append(payment)
        assert {payment.payout_id for payment in payments} == set(named)
        assert all(len(found) == 1 for found in named.values()), "a payment is in two files"
        for payment in payments:
            assert named[payment.payout_id][0]["amount"] == payment.sent_amount
            assert (payment.state == PaymentState.FAILED) == (payment.miner_id == miner(MINERS - 1))

    yield World({"file": {"directory": str(folder)}}, ["DE89370400440532013000"] * MINERS, check)


@contextmanager
def http_world(_: Path) -> Iterator[World]:
    secret = make_secret()
    closed = frozenset({miner(0)})
    service = PaymentService(secret, closed)

    def check(payments: list[Any]) -> None:
        assert not service.differing
        confirmed = [payment for payment in payments if payment.state == PaymentState.CONFIRMED]
        assert {payment.payout_id: payment.sent_amount for payment in confirmed} == {
            key: data["amount"] for key, data in service.paid.items()
        }
        assert {one.miner_id for one in payments if one.state == PaymentState.FAILED} == closed

    with service.running() as url:
        settings = {"url": url, "secret": secret, "allow_http": True, "allow_private": True}
        yield World({"http": settings}, [f"account {number}" for number in range(MINERS)], check)


@contextmanager
def evm_world(directory: Path) -> Iterator[World]:
    chain = EvmChain()
    chain.mines_when_polled = True
    key = directory / "evm.key"
    key.touch(0o600)
    key.write_text(KEY)
    addresses = [f"0x{number + 0xACC0:040x}" for number in range(MINERS)]

    def check(payments: list[Any]) -> None:
        assert chain.waiting == {}
        due = dict.fromkeys(addresses, Decimal())
        for payment in payments:
            assert payment.state == PaymentState.CONFIRMED
            due[payment.address.lower()] += Decimal(payment.sent_amount) * 10**6
        assert {address: chain.tokens(address) for address in addresses} == due

    with chain.served() as url:
        settings = {
            "rpc_url": url, "chain_id": CHAIN_ID, "token": chain.token, "currency": "TOK", "decimals": 6, "confirmations": 1,
            "key_file": str(key), "allow_http": True, "allow_private": True, "replace_seconds": 0.2,
        }  # fmt: skip
        yield World({"evm": settings}, addresses, check)


@contextmanager
def lightning_world(directory: Path) -> Iterator[World]:
    node = LightningNode(directory / "node")
    node.behaviours.extend([Behaviour.PAY_AND_HANG_UP, Behaviour.NO_ROUTE] * 3)
    node.default, node.settles_when_asked = Behaviour.PENDING, True

    def check(payments: list[Any]) -> None:
        hashes = {json.loads(payment.handed_in)["payment_hash"] for payment in payments}
        assert len(hashes) == len(payments)
        assert {payment.state for payment in payments} == {PaymentState.CONFIRMED}
        assert node.paid == dict.fromkeys(hashes, 1)

    with node.running():
        settings = {"socket": str(node.path), "network": "regtest", "timeout_seconds": 6, "max_attempts": 100}
        yield World({"lightning": settings}, [PAYEE] * MINERS, check)


WORLDS = {"file": file_world, "http": http_world, "evm": evm_world, "lightning": lightning_world}


class Payer:
    """The process that is killed. It starts again within milliseconds (`support.payouts.process`)."""

    def __init__(self, directory: Path) -> None:
        self.plan = directory / "plan"
        self.plan.touch()
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "support.payouts.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=TESTS,
                env={**os.environ, VARIABLE: str(self.plan), "PYTHONPATH": str(TESTS)},
            )

    def pay(self, configuration: Path, batches: int, plan: str = "") -> int:
        """Pay until that many batches have ended, or the plan kills the process. Return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.plan.write_text(plan)
        self.process.stdin.write(json.dumps({"configuration": str(configuration), "batches": batches}) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline() or 1)
        assert code in (0, -signal.SIGKILL), self.log.read_text()[-3000:]
        return code

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def payer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payer]:
    payer = Payer(tmp_path_factory.mktemp("payer"))
    yield payer
    payer.close()


@pytest.mark.parametrize("adapter", WORLDS)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nobody_is_paid_twice_wherever_the_kill_strikes(
    engine: str, adapter: str, payer: Payer, tmp_path: Path
) -> None:
    steps = [*STEPS, *MORE[adapter]]
    batches = BATCHES or len(steps)
    choose = random.Random(adapter)  # noqa: S311 - not a secret
    killed: set[str] = set()
    with WORLDS[adapter](tmp_path) as world:
        settings = {
            "data_dir": str(tmp_path / "data"),
            "database": {"url": postgres.shared().new_database() if engine == "postgresql" else None},
            "payouts": {
                "adapters": [adapter], "hold_hours": 0, "new_miner_hours": 0, "poll_seconds": 0.02, "retry_seconds": 0.02,
                "max_retry_seconds": 0.1, **world.settings,
            },
        }  # fmt: skip
        configuration = tmp_path / "configuration.json"
        values = {
            "settings": settings,
            "adapter": adapter,
            "addresses": world.addresses,
            "rate": RATES[adapter],
        }
        configuration.write_text(json.dumps(values))
        planned = [
            (steps[number % len(steps)], choose.randint(1, PAYMENTS) if number >= len(steps) else 1)
            for number in range(batches)
        ]
        number = 0
        for _ in range(CHANCES):
            for step, count in planned:
                number += 1
                if payer.pay(configuration, number, f"{step} kill {count}\n"):
                    killed.add(step)
                    assert payer.pay(configuration, number) == 0
            # A batch can end before the worker polls.
            planned = [(step, 1) for step in steps if step not in killed]
        missed = set(steps) - killed
        assert not missed, f"never reached: {missed}"
        read = Settings(**settings)
        with snapshot(read.database, read.data_dir) as connection:
            found = read_all(connection)
            assert ledger.problems(connection) == []
            assert payout_checks.problems(connection) == []
        check_books(found, number)
        world.check(found["payments"])


def check_books(found: dict[str, Any], batches: int) -> None:
    """Check that all money is where the payments say."""
    payments = found["payments"]
    assert len({payment.payout_id for payment in payments}) == len(payments) == batches * PAYMENTS
    rounds = -(-batches // (MINERS // PAYMENTS))
    for number in range(MINERS):
        mine = [payment for payment in payments if payment.miner_id == miner(number)]
        paid = sum(payment.amount for payment in mine if payment.state == PaymentState.CONFIRMED)
        assert found["earned"][miner(number)] == rounds * (EARNED + number) - paid
