"""Payouts on a real EVM: signed once, sent as often as needed, paid once."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.coordinator.features.payouts.adapter import AddressRefused, NotConfigured, Outcome
from aitbc_evm.adapter import EvmAdapter, NotNow, Superseded
from aitbc_evm.node import NodeError
from evm_chain import CHAIN_ID, KEY, SUPPLY, EvmChain
from support.payouts.adapters import NOW, after, batch, only, payment, site, stored

pytestmark = pytest.mark.system

ALICE = "0x00000000000000000000000000000000000A11cE"
BOB = "0x0000000000000000000000000000000000000B0b"
BATCH = batch("evm", "TOK")


class Payer:
    """An adapter on a chain of its own, with a clock that tests move. `run` runs one of its calls."""

    def __init__(self, directory, url, chain, **settings):
        key = directory / "evm.key"
        if not key.exists():
            key.touch(0o600)
            key.write_text(KEY)
        self.now = NOW
        self.loop = asyncio.Runner()
        self.adapter = EvmAdapter(
            site(
                directory,
                evm={
                    "rpc_url": url,
                    "chain_id": CHAIN_ID,
                    "token": chain.token,
                    "currency": "TOK",
                    "decimals": 6,
                    "confirmations": 3,
                    "allow_http": True,
                    "allow_private": True,
                    **settings,
                },
            ),
            lambda: self.now,
        )

    def prepare(self, *payments, nonces=None):
        prepared = self.run(self.adapter.prepare(BATCH, payments, nonces or {}))
        return [stored(new, BATCH, payments) for new in prepared.transfers]

    def send(self, transfer):
        return self.run(self.adapter.send(transfer))

    def poll(self, transfer):
        return self.run(self.adapter.poll(transfer))

    def run(self, call):
        return self.loop.run(call)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[EvmChain, str]]:
    chain = EvmChain()
    with chain.served() as url:
        yield chain, url


@pytest.fixture
def chain(served):
    chain, _ = served
    snapshot = chain.tester.take_snapshot()
    yield chain
    chain.tester.revert_to_snapshot(snapshot)
    chain.lose()
    chain.failing.clear()
    chain.chain_id = CHAIN_ID


@pytest.fixture
def make(chain, served, tmp_path):
    payers = []

    def new(**settings):
        payers.append(Payer(tmp_path, served[1], chain, **settings))
        return payers[-1]

    yield new
    for payer in payers:
        payer.run(payer.adapter.close())
        payer.loop.close()


@pytest.fixture
def payer(make):
    return make()


def test_two_payments_arrive_after_their_confirmations(chain, payer):
    first, second = payer.prepare(payment(1, ALICE, "1.5"), payment(2, BOB, "0.000001"))
    assert (first.nonce, second.nonce) == (0, 1)
    assert first.source == f"{CHAIN_ID}:{chain.payer}"
    assert chain.waiting == {}, "nothing leaves before the transfers are stored"
    for transfer in (second, first):
        payer.send(transfer)
        assert only(payer.poll(transfer)).outcome is Outcome.SENT
    chain.mine(0)
    assert only(payer.poll(first)).reason == "2 of 3 confirmations"
    chain.mine(2)
    for transfer in (first, second):
        report = only(payer.poll(transfer))
        assert (report.outcome, report.reference) == (Outcome.CONFIRMED, transfer.reference)
    assert (chain.tokens(ALICE), chain.tokens(BOB)) == (1_500_000, 1)
    (third,) = payer.prepare(payment(3, BOB, "1"), nonces={second.source: 1})
    assert third.nonce == 2


def test_the_chains_coin_is_paid_too(chain, make):
    payer = make(token=None, currency="ETH", decimals=18)
    before = chain.coins(BOB)
    (transfer,) = payer.prepare(payment(1, BOB, "10.00000001"))
    payer.send(transfer)
    chain.mine(3)
    assert only(payer.poll(transfer)).outcome is Outcome.CONFIRMED
    assert chain.coins(BOB) - before == 10 * 10**18 + 10**10


def test_repeated_sending_pays_once(chain, payer):
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    for _ in range(3):
        payer.send(transfer)
    chain.mine(3)
    payer.send(transfer)  # "nonce too low" of a transaction that is in a block is no error
    assert only(payer.poll(transfer)).outcome is Outcome.CONFIRMED
    assert chain.tokens(ALICE) == 1_000_000


def test_a_dropped_transaction_is_sent_again_from_its_stored_bytes(chain, payer):
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(transfer)
    chain.lose()
    assert only(payer.poll(transfer)).outcome is Outcome.SENT
    assert list(chain.waiting.values()) == [transfer.content]


def test_a_reorganisation_takes_the_confirmations_back(chain, payer):
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(transfer)
    chain.mine(0)
    assert only(payer.poll(transfer)).reason == "1 of 3 confirmations"
    chain.reorganise()
    assert only(payer.poll(transfer)).outcome is Outcome.SENT
    assert list(chain.waiting.values()) == [transfer.content], "it is sent again"
    chain.mine(3)
    assert only(payer.poll(transfer)).outcome is Outcome.CONFIRMED
    assert chain.tokens(ALICE) == 1_000_000


def test_a_stuck_transaction_is_replaced_a_bounded_number_of_times(chain, make):
    payer = make(max_replacements=2)
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(transfer)
    assert payer.poll(transfer).content is None, "it is not old yet"
    hashes = [transfer.reference]
    for _ in range(2):
        payer.now += 301
        answer = payer.poll(transfer)
        assert list(chain.waiting.values()) == [transfer.content], "it is stored before it is sent"
        transfer = after(transfer, answer)
        hashes.append(transfer.reference)
        payer.send(transfer)
        assert list(chain.waiting.values()) == [transfer.content]
    payer.now += 301
    assert payer.poll(transfer).content is None
    assert len(set(hashes)) == 3
    assert transfer.nonce == 0
    chain.mine(3)
    assert only(payer.poll(transfer)).reference == hashes[-1]
    assert chain.tokens(ALICE) == 1_000_000


def test_the_first_of_two_replacements_may_win(chain, payer):
    """The process can die after it stored a replacement and before it sent it, while the first transaction gets its block."""
    (first,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(first)
    payer.now += 301
    second = after(first, payer.poll(first))
    assert second.reference != first.reference
    chain.mine(3)
    payer.send(second)
    report = only(payer.poll(second))
    assert (report.outcome, report.reference) == (Outcome.CONFIRMED, first.reference)
    assert chain.tokens(ALICE) == 1_000_000


def test_a_transfer_that_the_chain_refuses_fails(chain, payer):
    """Both are signed while the account has enough; the second finds too little."""
    half = str(SUPPLY // 10**6 * 3 // 5)
    (first,) = payer.prepare(payment(1, ALICE, half))
    (second,) = payer.prepare(payment(2, BOB, half), nonces={first.source: 0})
    for transfer in (first, second):
        payer.send(transfer)
    chain.mine(3)
    assert only(payer.poll(first)).outcome is Outcome.CONFIRMED
    report = only(payer.poll(second))
    assert (report.outcome, report.reason) == (Outcome.FAILED, "the chain refused the transfer")
    assert chain.tokens(BOB) == 0


def test_a_contract_that_moves_nothing_does_not_count_as_paid(chain, make):
    """An account without code accepts every call, and logs no transfer."""
    payer = make()
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(transfer)
    chain.mine(3)
    (receipt,) = [chain.answer("eth_getTransactionReceipt", [transfer.reference])]
    assert payer.adapter._moved(transfer, receipt)
    assert not payer.adapter._moved(transfer, {**receipt, "logs": []})
    other = {**receipt["logs"][0], "address": BOB}
    assert not payer.adapter._moved(transfer, {**receipt, "logs": [other]})


def test_a_nonce_that_an_unknown_transaction_used_is_for_an_administrator(chain, payer):
    """After a restored backup, the unknown transaction may be a replacement that has paid: it never counts as failed."""
    (ours,) = payer.prepare(payment(1, ALICE, "1"))
    (theirs,) = payer.prepare(payment(2, BOB, "1"))
    payer.send(theirs)
    chain.mine(3)
    payer.now += 10**6
    with pytest.raises(Superseded, match="has used the nonce 0"):
        payer.poll(ours)
    assert chain.waiting == {}


def test_nothing_is_signed_when_something_is_wrong(chain, make):
    payer = make()
    one = payment(1, ALICE, "1")
    chain.chain_id = 1
    with pytest.raises(NotNow, match="the node's chain has the id 1, but"):
        payer.prepare(one)
    chain.chain_id = CHAIN_ID
    with pytest.raises(NotNow, match=r"TOK, and 2e\+09 are needed"):
        payer.prepare(payment(1, ALICE, "2000000000"))
    with pytest.raises(NotNow, match=r"`payouts\.evm\.max_fee_gwei` permits"):
        make(max_fee_gwei="1").prepare(one)
    with pytest.raises(NotNow, match="coins, and up to"):
        make(gas_limit=10_000_000, max_fee_gwei="100000", priority_fee_gwei="50000").prepare(one)
    assert chain.waiting == {}


def test_an_account_with_unknown_transactions_pays_nothing(chain, make):
    """As after a restored backup, whose database has forgotten the payments that were made since."""
    payer = make()
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    payer.send(transfer)
    chain.mine(0)
    with pytest.raises(NotNow, match="has sent 1 transactions, but 0 are known here"):
        payer.prepare(payment(1, ALICE, "1"))
    (transfer,) = make(foreign_transactions=1).prepare(payment(2, ALICE, "1"))
    assert transfer.nonce == 1


def test_an_error_of_the_node_leaves_the_outcome_open(chain, payer):
    (transfer,) = payer.prepare(payment(1, ALICE, "1"))
    chain.failing["eth_sendRawTransaction"] = "the pool is full"
    with pytest.raises(NodeError, match="the pool is full"):
        payer.send(transfer)
    chain.failing.clear()
    payer.send(transfer)
    chain.failing["eth_sendRawTransaction"] = "internal error"
    payer.send(transfer)  # the node has it


def test_addresses_are_checked(payer):
    lower = "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359"
    assert payer.adapter.check_address(f" {lower} ", "TOK") == "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
    for wrong in ("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d358", lower[:-1], lower[2:], "0x" + 40 * "0", ""):
        with pytest.raises(AddressRefused):
            payer.adapter.check_address(wrong, "TOK")


def test_the_key_is_private_and_never_shown(make, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "evm.key"
    key.write_text(KEY)
    key.chmod(0o640)
    with pytest.raises(NotConfigured, match="chmod 600"):
        make()
    key.chmod(0o600)
    payer = make()
    payer.prepare(payment(1, ALICE, "1"))
    key.write_text(KEY + "77")
    with pytest.raises(NotConfigured) as caught:
        make()
    secret = KEY.removeprefix("0x")
    assert secret not in str(caught.value)
    assert secret not in caplog.text
    assert secret not in repr(vars(payer.adapter))


def test_the_limit_of_nested_calls_is_unchanged(tmp_path):
    """A package of eth-account raises it so far that a client's nested JSON would crash the coordinator."""
    program = (
        "import sys; from pathlib import Path\n"
        "from aitbc_evm.signing import load_account\n"
        "before = sys.getrecursionlimit(); load_account(Path(sys.argv[1]))\n"
        "assert 'eth_account' in sys.modules and sys.getrecursionlimit() == before"
    )
    key = tmp_path / "evm.key"
    key.touch(0o600)
    key.write_text(KEY)
    subprocess.run([sys.executable, "-c", program, str(key)], check=True, timeout=300)


def test_private_nodes_need_permission(make):
    for setting in ("allow_http", "allow_private"):
        with pytest.raises(NotConfigured, match=rf"`payouts\.evm\.{setting}`"):
            make(**{setting: False})
