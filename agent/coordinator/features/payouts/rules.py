"""Who is paid how much, the states of batches, payments and transfers, and their entries in the ledger. See docs/how-to/payouts.md.

A batch is created from the balances of what miners have earned; the money moves out of the balances immediately, so that no other batch
can pay it. A payment ends in one of three ways: it is confirmed, it fails, or its batch is cancelled before it was sent. In the last
two the money moves back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from agent.core.market.ledger import ISSUED, Entry, Posting, earned, entry
from aitbc.answers.payouts import Omitted, PaymentState

DAY_SECONDS: Final = 86_400


class BatchState(StrEnum):
    """The state of a batch. A dry run (draft) is not stored."""

    CREATED = "created"
    """The money is reserved. An administrator approves or cancels the batch."""
    APPROVED = "approved"
    """Its manifest is in the log. Nothing is sent yet, so it can still be cancelled."""
    SENDING = "sending"
    """The first bytes that will be sent are stored. From here on, each payment ends on its own."""
    CONFIRMED = "confirmed"
    """All payments have arrived."""
    FAILED = "failed"
    """All payments have ended, and some have failed."""
    CANCELLED = "cancelled"
    """Nothing was sent, and all money is back."""

    @property
    def final(self) -> bool:
        """Whether this state is final."""
        return self in {BatchState.CONFIRMED, BatchState.FAILED, BatchState.CANCELLED}


class TransferState(StrEnum):
    """The state of a transfer: the bytes for one or more payments."""

    PREPARED = "prepared"
    """They are to be sent; an attempt may have been made."""
    SENT = "sent"
    """They were sent, and the adapter polls their outcome."""
    FINISHED = "finished"
    """Each of its payments has ended."""


class PayoutEvent(StrEnum):
    """What happens to a batch or a payment."""

    APPROVE = "approve"
    CANCEL = "cancel"
    PREPARE = "prepare"
    SEND = "send"
    CONFIRM = "confirm"
    FAIL = "fail"


BATCHES: Final[Mapping[tuple[BatchState, PayoutEvent], BatchState]] = {
    (BatchState.CREATED, PayoutEvent.APPROVE): BatchState.APPROVED,
    (BatchState.CREATED, PayoutEvent.CANCEL): BatchState.CANCELLED,
    (BatchState.APPROVED, PayoutEvent.CANCEL): BatchState.CANCELLED,
    (BatchState.APPROVED, PayoutEvent.PREPARE): BatchState.SENDING,
    (BatchState.APPROVED, PayoutEvent.FAIL): BatchState.FAILED,
    (BatchState.SENDING, PayoutEvent.CONFIRM): BatchState.CONFIRMED,
    (BatchState.SENDING, PayoutEvent.FAIL): BatchState.FAILED,
}
"""Every transition of a batch."""

PAYMENTS: Final[Mapping[tuple[PaymentState, PayoutEvent], PaymentState]] = {
    (PaymentState.CREATED, PayoutEvent.APPROVE): PaymentState.APPROVED,
    (PaymentState.CREATED, PayoutEvent.CANCEL): PaymentState.CANCELLED,
    (PaymentState.APPROVED, PayoutEvent.CANCEL): PaymentState.CANCELLED,
    (PaymentState.APPROVED, PayoutEvent.PREPARE): PaymentState.PREPARED,
    (PaymentState.APPROVED, PayoutEvent.FAIL): PaymentState.FAILED,
    (PaymentState.PREPARED, PayoutEvent.SEND): PaymentState.SENT,
    (PaymentState.PREPARED, PayoutEvent.CONFIRM): PaymentState.CONFIRMED,
    (PaymentState.PREPARED, PayoutEvent.FAIL): PaymentState.FAILED,
    (PaymentState.SENT, PayoutEvent.CONFIRM): PaymentState.CONFIRMED,
    (PaymentState.SENT, PayoutEvent.FAIL): PaymentState.FAILED,
}
"""Every transition of a payment. None leads out of a final state, so nobody is paid after the money has moved back."""

_State = TypeVar("_State", BatchState, PaymentState)


def sources(
    table: Mapping[tuple[_State, PayoutEvent], _State], event: PayoutEvent
) -> dict[_State, list[_State]]:
    """Return the states that an event leads to, each with the states that it leads from."""
    sources_by_target: dict[_State, list[_State]] = {}
    for (source, happening), target in table.items():
        if happening is event:
            sources_by_target.setdefault(target, []).append(source)
    return sources_by_target


@dataclass(frozen=True, slots=True)
class PayoutCandidate:
    """A miner that has earned money. `address` is that of the batch's adapter and currency, or None.

    `balance` is what it has earned and was not paid, `held_back` the part that was earned too recently, in units of 1e-8. `known_since` is
    when it first registered. The balance may be negative after a forfeit.
    """

    miner_id: str
    address: str | None
    balance: int
    held_back: int
    known_since: float
    excluded: bool = False

    @property
    def payable(self) -> int:
        """What can be paid, in units of 1e-8."""
        return payable(self.balance, self.held_back)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a batch. `known_before` excludes miners that registered later; `minimum` is in units of 1e-8.

    `convert` returns an amount in units of 1e-8 in the batch's currency, rounded.
    """

    minimum: int
    known_before: float
    max_payments: int
    convert: Callable[[int], Decimal]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A payment: `amount` in units of 1e-8, `sent_amount` in the batch's currency."""

    miner_id: str
    address: str
    amount: int
    sent_amount: Decimal


@dataclass(frozen=True, slots=True)
class Selection:
    """The payments of a batch, by miner, and the other miners that have earned money, with what could be paid to each and why it is not."""

    payments: tuple[Chosen, ...]
    omitted: tuple[tuple[str, int, Omitted], ...]


def payable(balance: int, held_back: int) -> int:
    """Return what can be paid of a miner's balance, of which `held_back` was earned too recently; never less than 0."""
    return max(0, balance - held_back)


def first_held_day(cut_off: float, hold_seconds: float, now: float) -> int | None:
    """Return the first UTC day (since the epoch) whose earnings are held, or None if nothing is.

    Earnings count up to `cut_off` less the hold. They are summed by day, so all of the day in which that moment lies is held.
    """
    # A cut-off in the future must not shorten the hold.
    boundary = min(cut_off, now) - hold_seconds
    return None if boundary >= now else int(boundary // DAY_SECONDS)


def choose(candidates: Iterable[PayoutCandidate], terms: Terms) -> Selection:
    """Return the payments of a batch, the largest amounts first where not all fit, ordered by miner."""
    chosen: list[Chosen] = []
    omitted: list[tuple[str, int, Omitted]] = []
    # The largest amounts first, so that a full batch omits those who lose least by waiting.
    for candidate in sorted(candidates, key=lambda payee: (-payee.payable, payee.miner_id)):
        # Nothing is owed to them, so they are neither paid nor omitted.
        if candidate.balance <= 0:
            continue
        converted = terms.convert(candidate.payable)
        reason = _obstacle(candidate, terms, converted, len(chosen))
        if reason is None and candidate.address is not None:
            chosen.append(Chosen(candidate.miner_id, candidate.address, candidate.payable, converted))
        elif reason is not None:
            omitted.append((candidate.miner_id, candidate.payable, reason))
    return Selection(
        tuple(sorted(chosen, key=lambda entry: entry.miner_id)),
        tuple(sorted(omitted, key=lambda entry: entry[0])),
    )


def _obstacle(candidate: PayoutCandidate, terms: Terms, converted: Decimal, chosen: int) -> Omitted | None:
    if candidate.excluded:
        return Omitted.EXCLUDED
    if candidate.known_since > terms.known_before:
        return Omitted.NEW
    if not candidate.payable:
        return Omitted.ON_HOLD
    # An amount above the minimum may still be less than the smallest unit of the currency.
    if candidate.payable < terms.minimum or not converted:
        return Omitted.BELOW_MINIMUM
    if candidate.address is None:
        return Omitted.NO_ADDRESS
    return Omitted.BATCH_FULL if chosen >= terms.max_payments else None


def outcome_of(payments: Iterable[PaymentState]) -> PayoutEvent | None:
    """Return what ends a batch with these payments, or None while one of them has not ended."""
    states = set(payments)
    # One open payment keeps its batch open: its money is still on its way.
    if not all(state.final for state in states):
        return None
    return PayoutEvent.CONFIRM if states == {PaymentState.CONFIRMED} else PayoutEvent.FAIL


def effective_at(now: float, *, first: bool, unchanged: bool, delay_seconds: float) -> float:
    """Return when a new address takes effect: immediately if it is the miner's first, or the one already in force; else after the delay."""
    return now if first or unchanged else now + delay_seconds


def next_pause(failures: int, first_seconds: float, longest_seconds: float) -> float:
    """Return the pause in seconds after this many failed calls in a row (at least 1)."""
    # The exponent is limited, since a float overflows after about a thousand failures.
    return min(longest_seconds, first_seconds * 2.0 ** min(failures - 1, 40))


def payout(batch_id: str) -> str:
    """Return the ledger account of the money that is reserved for a batch of payouts."""
    return f"payout:{batch_id}"


def reserve(miner_id: str, batch_id: str, amount: int) -> Entry:
    """Reserve earned money for a payment of a batch."""
    if amount <= 0:
        raise ValueError("a payment must be positive")
    return entry((Posting(earned(miner_id), -amount), Posting(payout(batch_id), amount)))


def pay_out(batch_id: str, amount: int) -> Entry:
    """Move the money of a confirmed payment out of the ledger."""
    return entry((Posting(payout(batch_id), -amount), Posting(ISSUED, amount)))


def post_back(miner_id: str, batch_id: str, amount: int) -> Entry:
    """Move the money of a payment that was not made back to the miner."""
    return entry((Posting(payout(batch_id), -amount), Posting(earned(miner_id), amount)))
