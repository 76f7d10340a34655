"""Payouts over Lightning: only the right invoice is paid, and once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.coordinator.features.payouts.adapter import AddressRefused, NotConfigured, Outcome
from aitbc_lightning.adapter import LightningAdapter
from aitbc_lightning.node import NodeRefused, NodeUnreachable
from lightning_node import DAY, PAYEE, Behaviour, LightningNode, invoice
from support.payouts.adapters import NOW, after, batch, only, payment, site, stored

BATCH = batch("lightning", "BTC")
AMOUNT, MSAT = "0.00012345", 12_345_000


class Payer:
    """An adapter of a node, with a clock that tests move."""

    def __init__(self, directory, **settings):
        self.now = NOW
        values = {"socket": str(directory / "node"), "network": "regtest", "timeout_seconds": 5, **settings}
        self.adapter = LightningAdapter(site(directory, lightning=values), lambda: self.now)

    def with_invoice(self, number=1, **changes):
        """Return a payment for which an invoice was handed in."""
        bare = payment(number, PAYEE, AMOUNT)
        text = invoice(MSAT, f"my {bare.payout_id}", date=self.now, number=number, **changes)
        return replace(bare, handed_in=self.adapter.accept(bare, text))

    def prepared(self, *payments, nonces=None):
        return asyncio.run(self.adapter.prepare(BATCH, payments, nonces or {}))

    def transfer(self, **changes):
        """Return the stored transfer of a payment."""
        one = self.with_invoice(**changes)
        (new,) = self.prepared(one).transfers
        return stored(new, BATCH, [one])

    def send(self, transfer):
        return asyncio.run(self.adapter.send(transfer))

    def poll(self, transfer):
        return asyncio.run(self.adapter.poll(transfer))


@pytest.fixture
def node(tmp_path):
    with LightningNode(tmp_path / "node").running() as node:
        yield node


@pytest.fixture
def payer(tmp_path):
    return Payer(tmp_path)


def test_an_invoice_is_paid(node, payer):
    transfer = payer.transfer()
    report = only(payer.send(transfer))
    assert (report.outcome, report.reference) == (
        Outcome.CONFIRMED,
        f"preimage preimage of {transfer.reference}",
    )
    assert node.paid == {transfer.reference: 1}


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"msat": MSAT + 1}, "its amount is 12345001 msat; it must be 12345000 msat"),
        ({"msat": None}, "its amount is open"),
        ({"description": "thanks"}, "its description must contain payout_1"),
        ({"currency": "bc"}, r"another network \(bc\); regtest is needed"),
        ({"expiry": 3599}, "it expires too early"),
        ({"key": "7e" * 32}, f"your payout address is {PAYEE}"),
    ],
)
def test_an_invoice_that_says_something_else_is_refused(payer, difference, message):
    values = {"msat": MSAT, "description": "payout_1", "date": NOW, **difference}
    with pytest.raises(AddressRefused, match=message):
        payer.adapter.accept(payment(1, PAYEE, AMOUNT), invoice(**values))


def test_text_that_is_no_invoice_is_refused(payer):
    good = invoice(MSAT, "payout_1", date=NOW)
    assert payer.adapter.accept(payment(1, PAYEE, AMOUNT), f"LIGHTNING:{good.upper()}")
    for wrong in ("", "lnbcrt1", "x" * 5000, good[:-1] + "qp"[good.endswith("q")], good[:40] + good[41:]):
        with pytest.raises(AddressRefused):
            payer.adapter.accept(payment(1, PAYEE, AMOUNT), wrong)


def test_an_invoice_of_any_node_may_be_allowed(payer):
    anybody = payment(1, payer.adapter.check_address(" ANY ", "BTC"), AMOUNT)
    text = invoice(MSAT, "payout_1", date=NOW, key="7e" * 32)
    assert payer.adapter.accept(anybody, text)["invoice"] == text
    assert payer.adapter.check_address(PAYEE.upper(), "BTC") == PAYEE
    with pytest.raises(AddressRefused, match="66 hexadecimal digits"):
        payer.adapter.check_address(PAYEE[:-1], "BTC")


def test_a_payment_waits_for_its_invoice_and_fails_in_the_end(payer):
    bare = payment(1, PAYEE, AMOUNT)
    waiting = payer.prepared(bare).waiting
    assert waiting == {"payout_1": "an invoice for 12345000 msat with payout_1 in its description"}
    expired = payer.with_invoice()
    payer.now += DAY + 1
    assert "it expires too early" in payer.prepared(expired).waiting["payout_1"]
    payer.now = NOW + 14 * DAY + 1
    assert payer.prepared(bare).failed == {"payout_1": "no invoice was handed in in time"}


def test_one_invoice_pays_one_payment(payer):
    """A description that names two payouts fits both, so the payment hash decides."""
    first, second = payment(1, PAYEE, AMOUNT), payment(2, PAYEE, AMOUNT)
    text = invoice(MSAT, "payout_1 payout_2", date=NOW)
    both = [replace(one, handed_in=payer.adapter.accept(one, text)) for one in (first, second)]
    prepared = payer.prepared(*both)
    (new,) = prepared.transfers
    assert new.payout_ids == ("payout_1",)
    assert "belongs to another payment" in prepared.waiting["payout_2"]
    later = payer.prepared(both[1], nonces={new.source: new.nonce})
    assert not later.transfers
    assert later.waiting.keys() == {"payout_2"}


def test_an_answer_that_is_lost_pays_once(node, payer):
    transfer = payer.transfer()
    node.behaviours.append(Behaviour.PAY_AND_HANG_UP)
    with pytest.raises(NodeUnreachable):
        payer.send(transfer)
    assert only(payer.send(transfer)).outcome is Outcome.CONFIRMED
    assert only(payer.poll(transfer)).outcome is Outcome.CONFIRMED
    assert node.paid == {transfer.reference: 1}
    assert node.calls.count("pay") == 1


def test_a_pending_payment_is_awaited(node, payer):
    transfer = payer.transfer()
    node.behaviours.append(Behaviour.PENDING)
    for call in (payer.send, payer.send, payer.poll):
        assert only(call(transfer)).outcome is Outcome.SENT
    node.settle(transfer.reference)
    assert only(payer.poll(transfer)).outcome is Outcome.CONFIRMED
    assert node.paid == {transfer.reference: 1}


def test_without_a_route_it_is_tried_again_and_fails_in_the_end(node, payer):
    transfer = payer.transfer()
    node.behaviours.extend([Behaviour.NO_ROUTE] * 5)
    for attempts in range(4):
        with pytest.raises(NodeRefused, match="Ran out of routes"):
            payer.send(replace(transfer, attempts=attempts))
    report = only(payer.send(replace(transfer, attempts=4)))
    assert (report.outcome, report.reason) == (Outcome.FAILED, "no route was found in 5 attempts")
    assert node.paid == {}


def test_a_pending_payment_that_fails_is_sent_again(node, payer):
    transfer = payer.transfer()
    node.behaviours.append(Behaviour.PENDING)
    payer.send(transfer)
    node.settle(transfer.reference, "failed")
    answer = payer.poll(transfer)
    assert (answer.reports, answer.content) == ((), transfer.content)
    assert only(payer.send(after(transfer, answer))).outcome is Outcome.CONFIRMED


def test_an_expired_invoice_fails_once_no_attempt_can_still_run(node, payer):
    transfer = payer.transfer()
    payer.now += DAY + 60
    node.behaviours.append(Behaviour.NO_ROUTE)
    with pytest.raises(NodeRefused):
        payer.send(transfer)
    payer.now += 5
    assert only(payer.send(transfer)).outcome is Outcome.FAILED
    assert only(payer.poll(transfer)).outcome is Outcome.FAILED
    assert node.paid == {}


def test_a_node_of_another_network_or_without_a_socket_pays_nothing(node, payer, tmp_path):
    transfer = payer.transfer()
    node.network = "bitcoin"
    with pytest.raises(NodeRefused, match="the node is on bitcoin, but"):
        payer.send(transfer)
    assert node.paid == {}
    elsewhere = Payer(tmp_path, socket=str(tmp_path / "nowhere"))
    with pytest.raises(NodeUnreachable, match="FileNotFoundError"):
        elsewhere.send(transfer)
    with pytest.raises(NotConfigured, match=r"Set `payouts\.lightning\.socket`"):
        LightningAdapter(site(tmp_path))
