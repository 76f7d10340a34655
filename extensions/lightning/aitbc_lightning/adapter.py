"""Pays the invoices of miners through a Core Lightning node.

An invoice's payment hash makes a payment idempotent: the node knows what it has paid. Before each attempt the node is asked, and the
database refuses a second transfer for the same invoice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agent.coordinator.features.payouts.adapter import (
    AddressRefused,
    Answer,
    BatchInfo,
    NewTransfer,
    NotConfigured,
    Outcome,
    Payment,
    Prepared,
    Report,
    Site,
    Transfer,
)
from agent.fault_points import reach
from agent.sections import section_of
from aitbc_lightning import invoice as invoices
from aitbc_lightning.node import (
    IN_PROGRESS,
    Node,
    NodeRefused,
    Payments,
    PayStatus,
)
from aitbc_lightning.settings import LightningPayoutSettings

ENDED_MARGIN: Final = 60.0
"""Seconds after the end of the node's search for a route at which no part of it can still be running."""


class LightningAdapter:
    """Pays each payment's invoice once it is handed in."""

    name = "lightning"
    by_hand = False
    currencies: Mapping[str, int] = {"BTC": 8}

    def __init__(self, site: Site, clock: Callable[[], float] = time.time) -> None:
        settings = section_of(site.settings, LightningPayoutSettings)
        if settings.socket is None:
            raise NotConfigured("Set `payouts.lightning.socket` to use the adapter `lightning`.")
        self._settings = settings
        self._clock = clock
        self._node = Node(settings.socket, settings.timeout_seconds)

    def check_address(self, address: str, currency: str) -> str:  # noqa: ARG002 - there is one currency
        """Return the id of the node that the invoices must come from. Raises `AddressRefused`."""
        return invoices.check_address(address)

    def accept(self, payment: Payment, text: str) -> Mapping[str, Any]:
        """Check an invoice and return it. Raises `AddressRefused`."""
        expected = self._expected(payment, self._clock() + self._settings.min_expiry_seconds)
        invoice = invoices.check(text, expected)
        return {
            "invoice": invoice.text,
            "payment_hash": invoice.payment_hash,
            "expires_at": invoice.expires_at,
        }

    async def prepare(
        self,
        batch: BatchInfo,  # noqa: ARG002 - invoices do not name it
        payments: Sequence[Payment],
        nonces: Mapping[str, int],
    ) -> Prepared:
        """Return a transfer for each payment whose invoice is handed in and valid. The others wait, and fail in the end."""
        transfers, waiting, failed = [], {}, {}
        chosen: set[str] = set()
        for payment in payments:
            missing = self._missing(payment, {*nonces, *chosen})
            if missing is None:
                transfers.append(_transfer(payment))
                chosen.add(transfers[-1].source)
            # Without an end, the amount would stay reserved for miners that never return.
            elif self._clock() - payment.created_at > self._settings.invoice_wait_seconds:
                failed[payment.payout_id] = "no invoice was handed in in time"
            else:
                waiting[payment.payout_id] = missing
        return Prepared(tuple(transfers), failed, waiting)

    async def send(self, transfer: Transfer) -> Answer:
        """Pay the invoice unless the node has paid it or is paying it. Raises the node's errors."""
        await self._require_network()
        payments = await self._node.payments(transfer.reference)
        if payments.status in (PayStatus.NONE, PayStatus.FAILED):
            if self._ended_unpaid(transfer):
                return _report(transfer, Outcome.FAILED, "its invoice has expired")
            payments = await self._pay(transfer)
        reach("payout.answered", self.name)
        return self._answer(transfer, payments)

    async def poll(self, transfer: Transfer) -> Answer:
        """Ask the node for the outcome of the payment, and have it sent again if it failed and another attempt is permitted."""
        payments = await self._node.payments(transfer.reference)
        if payments.status in (PayStatus.NONE, PayStatus.FAILED):
            if self._ended_unpaid(transfer):
                return _report(transfer, Outcome.FAILED, "its invoice has expired")
            return Answer(content=transfer.content)
        return self._answer(transfer, payments)

    async def examine(self) -> None:
        """Check that the node answers and is on the network of the settings. Raises its errors."""
        await self._require_network()

    async def close(self) -> None:
        """Do nothing: each call has its own connection."""

    async def _require_network(self) -> None:
        network = await self._node.network()
        if network != self._settings.network:
            raise NodeRefused(
                f"the node is on {network}, but `payouts.lightning.network` is {self._settings.network}"
            )

    async def _pay(self, transfer: Transfer) -> Payments:
        """Have the node pay. A failure of the last permitted attempt is final: the node's command has ended without a payment."""
        payment = transfer.payments[0]
        msat = invoices.to_msat(payment.amount)
        try:
            return await self._node.pay(
                transfer.content.decode(),
                label=payment.payout_id,
                max_fee_msat=int(msat * self._settings.max_fee_percent / 100),
            )
        except NodeRefused as error:
            # An earlier attempt may still succeed, so this one decides nothing.
            if error.code == IN_PROGRESS:
                return Payments(PayStatus.PENDING)
            # The error may be about this call, while another one has paid.
            payments = await self._node.payments(transfer.reference)
            if payments.status not in (PayStatus.NONE, PayStatus.FAILED):
                return payments
            if transfer.attempts + 1 < self._settings.max_attempts:
                raise
            return Payments(PayStatus.FAILED)

    def _answer(self, transfer: Transfer, payments: Payments) -> Answer:
        match payments.status:
            case PayStatus.COMPLETE:
                return _report(transfer, Outcome.CONFIRMED, "", f"preimage {payments.preimage}")
            case PayStatus.FAILED:
                reason = f"no route was found in {transfer.attempts + 1} attempts"
                return _report(transfer, Outcome.FAILED, reason)
            case _:
                return _report(transfer, Outcome.SENT, "it is on its way")

    def _ended_unpaid(self, transfer: Transfer) -> bool:
        """Return whether the invoice expired so long ago that no attempt to pay it can still be running."""
        ended = transfer.state["expires_at"] + self._node.retry_seconds + ENDED_MARGIN
        return bool(self._clock() > ended)

    def _missing(self, payment: Payment, paid_sources: set[str]) -> str | None:
        """Return what the payment waits for, or None if its invoice can be paid."""
        msat = invoices.to_msat(payment.amount)
        request = f"an invoice for {msat} msat with {payment.payout_id} in its description"
        if payment.handed_in is None:
            return request
        if _source(payment) in paid_sources:
            return f"{request}: the one that was handed in belongs to another payment"
        try:
            invoices.check(payment.handed_in["invoice"], self._expected(payment, self._clock()))
        except AddressRefused as error:
            return f"{request}: {error}"
        return None

    def _expected(self, payment: Payment, valid_until: float) -> invoices.Expected:
        return invoices.Expected(
            self._settings.network,
            invoices.to_msat(payment.amount),
            payment.address,
            payment.payout_id,
            valid_until,
        )


def _source(payment: Payment) -> str:
    return f"invoice:{(payment.handed_in or {})['payment_hash']}"


def _transfer(payment: Payment) -> NewTransfer:
    """Return the transfer of a payment. Its source is the invoice, of which the database permits one."""
    handed_in = payment.handed_in or {}
    return NewTransfer(
        (payment.payout_id,),
        str(handed_in["invoice"]).encode(),
        handed_in["payment_hash"],
        _source(payment),
        0,
        {"expires_at": handed_in["expires_at"]},
    )


def _report(transfer: Transfer, outcome: Outcome, reason: str, reference: str = "") -> Answer:
    return Answer((Report(transfer.payments[0].payout_id, outcome, reason, reference or transfer.reference),))
