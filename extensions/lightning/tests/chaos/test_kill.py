"""`kill -9` at every step of batches that are paid over Lightning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aitbc.answers.payouts import PaymentState
from lightning_node import PAYEE, Behaviour, LightningNode
from support.payouts.killing import Payer, World, kill_everywhere
from support.payouts.process import MINERS

pytestmark = pytest.mark.chaos

STEPS = ["payout.answered", "database.before_commit:hand_in", "database.after_commit:hand_in"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    node = LightningNode(tmp_path / "node")
    node.behaviours.extend([Behaviour.PAY_AND_HANG_UP, Behaviour.NO_ROUTE] * 3)
    node.default, node.settles_when_asked = Behaviour.PENDING, True

    def check(payments: list[Any]) -> None:
        hashes = {json.loads(payment.handed_in)["payment_hash"] for payment in payments}
        assert len(hashes) == len(payments)
        assert {payment.state for payment in payments} == {PaymentState.CONFIRMED}
        assert node.paid == dict.fromkeys(hashes, 1)

    with node.running():
        settings = {"socket": str(node.path), "network": "regtest", "timeout_seconds": 6, "max_attempts": 100}
        yield World(
            "lightning",
            "BTC",
            "0.0001",
            settings,
            STEPS,
            [PAYEE] * MINERS,
            check,
            "lightning_node:invoice_of",
        )


@pytest.fixture(scope="module")
def payer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payer]:
    with Payer(tmp_path_factory.mktemp("payer"), "lightning_node").running() as payer:
        yield payer


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nobody_is_paid_twice_wherever_the_kill_strikes(
    engine: str, world: World, payer: Payer, tmp_path: Path
) -> None:
    kill_everywhere(world, engine, payer, tmp_path)
