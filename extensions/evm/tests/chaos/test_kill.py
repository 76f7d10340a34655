"""`kill -9` at every step of batches that are paid on a chain."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aitbc.answers.payouts import PaymentState
from evm_chain import CHAIN_ID, KEY, EvmChain
from support.payouts.killing import Payer, World, kill_everywhere
from support.payouts.process import MINERS

pytestmark = pytest.mark.chaos


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    chain = EvmChain()
    chain.mines_when_polled = True
    key = tmp_path / "evm.key"
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
        yield World("evm", "TOK", "1.5", settings, ["payout.answered"], addresses, check)


@pytest.fixture(scope="module")
def payer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payer]:
    with Payer(tmp_path_factory.mktemp("payer"), "eth_account").running() as payer:
        yield payer


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nobody_is_paid_twice_wherever_the_kill_strikes(
    engine: str, world: World, payer: Payer, tmp_path: Path
) -> None:
    kill_everywhere(world, engine, payer, tmp_path)
