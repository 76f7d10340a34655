"""`kill -9` at every step of batches of payouts: nobody is paid twice, and nothing is lost. Extensions test their adapters so too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aitbc.answers.payouts import PaymentState
from support.payouts.killing import Payer, World, kill_everywhere
from support.payouts.process import MINERS, miner
from support.servers.payment_service import PaymentService, make_secret

pytestmark = pytest.mark.chaos


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

    steps = [
        *("payout.file_written:json", "payout.file_written:csv"),
        *("database.before_commit:_report", "database.after_commit:_report"),
    ]
    addresses = ["DE89370400440532013000"] * MINERS
    yield World("file", "EUR", "0.91", {"directory": str(folder)}, steps, addresses, check)


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
        addresses = [f"account {number}" for number in range(MINERS)]
        yield World("http", "EUR", "0.91", settings, ["payout.answered"], addresses, check)


@pytest.fixture(scope="module")
def payer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payer]:
    with Payer(tmp_path_factory.mktemp("payer")).running() as payer:
        yield payer


@pytest.mark.parametrize("world", [file_world, http_world])
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nobody_is_paid_twice_wherever_the_kill_strikes(
    engine: str, world: Callable[[Path], AbstractContextManager[World]], payer: Payer, tmp_path: Path
) -> None:
    with world(tmp_path) as opened:
        kill_everywhere(opened, engine, payer, tmp_path)
