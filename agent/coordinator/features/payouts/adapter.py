"""The contract of payout adapters: what sends an approved batch out of the coordinator's ledger.

An adapter is found by its entry point in the group `aitbc.payouts`, which names a callable that takes a `Site` and returns an
`Adapter`. The worker (`agent.coordinator.features.payouts.worker`) calls it as follows, and stores every answer before the next call:

1. `prepare` turns payments into transfers: the exact bytes that will be sent. Nothing leaves the machine.
2. `send` sends the stored bytes of one transfer. It may be called any number of times with the same bytes, and pays once.
3. `poll` reports the outcome of a transfer, until each of its payments is confirmed or has failed.

If the process dies after a call and before its answer is stored, the call is repeated with the same arguments, except that
`prepare` may be called with other payments too. Each adapter has a thread with an event loop of its own, so it may block; each call
has a time limit (`payouts.call_seconds`), after which its outcome counts as unknown.

An exception from `prepare`, `send` or `poll` means that the outcome is unknown: the call is repeated later, and the money stays
where it is. Only a `Report` with `FAILED` posts a payment back to the miner's earnings, so an adapter reports it only when it is
certain that nothing was and nothing will be paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from agent.coordinator.features.payouts.settings import PayoutSettings

GROUP: Final = "aitbc.payouts"


class AddressRefused(Exception):
    """An adapter cannot pay to this address. The message says why, and shows what a valid one looks like."""


class NotConfigured(Exception):
    """An adapter lacks a setting. The message names it."""


class Outcome(StrEnum):
    """The outcome of a payment."""

    SENT = "sent"
    """It is on its way, or its outcome is not known yet."""
    CONFIRMED = "confirmed"
    """It has arrived. This is final."""
    FAILED = "failed"
    """It is certain that nothing was and nothing will be paid. This is final."""


@dataclass(frozen=True, slots=True)
class Site:
    """What an adapter is made from: the settings `payouts.*`, the coordinator's data directory, and the log's origin."""

    settings: PayoutSettings
    directory: Path
    origin: str


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """The batch that payments belong to. `leaf` is the signed manifest, byte for byte as in the log (canonical JSON)."""

    batch_id: str
    adapter: str
    currency: str
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment. `address` is what `check_address` returned; `amount` is in the batch's currency, with at most its decimals.

    `created_at` is when its batch was created, in seconds since the epoch. `handed_in` is what the miner has handed in for this payment
    (see `Adapter.accept`), or None.
    """

    payout_id: str
    miner_id: str
    address: str
    amount: Decimal
    created_at: float
    handed_in: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """What is sent together, for one or more payments.

    `content` are the bytes that `send` sends. `reference` identifies the transfer at the receiver: a transaction's hash, an
    idempotency key, the name of a file. `nonce` is the number that the transfer uses up at `source`, the sending account: the database
    refuses a second transfer with the same adapter, source and nonce. `state` is for the adapter alone (JSON).
    """

    payout_ids: tuple[str, ...]
    content: bytes
    reference: str
    source: str = ""
    nonce: int | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A stored transfer. `attempts` counts the calls of `send` before this one; `sent_at` is the time of the first that succeeded."""

    transfer_id: str
    batch: BatchInfo
    payments: tuple[Payment, ...]
    content: bytes
    reference: str
    source: str
    nonce: int | None
    state: Mapping[str, Any]
    attempts: int
    created_at: float
    sent_at: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one payment. `reference` (a transaction's hash, a receipt's number) and `reason` are shown to its miner."""

    payout_id: str
    outcome: Outcome
    reason: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The answer of `prepare`. Payments that it does not mention are prepared by a later call.

    `failed` are payments that cannot be paid at all, with the reasons; they are posted back. `waiting` are payments that wait for
    something, with what that is; it is shown to the miner.
    """

    transfers: tuple[NewTransfer, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of `send` and `poll`. Payments without a report stay as they are.

    `state`, if given, replaces the transfer's state. `content` and `reference`, if given, replace those of the transfer, which is
    sent again after they are stored. In this way, a transaction with too low a fee is replaced by another one with the same nonce.
    The adapter must accept that either of them takes effect.
    """

    reports: tuple[Report, ...] = ()
    state: Mapping[str, Any] | None = None
    content: bytes | None = None
    reference: str | None = None


class Adapter(Protocol):
    """Sends payments in some currencies. See the module's docstring for the order of the calls."""

    name: str
    """The name in settings, batches and addresses: lower-case letters."""
    currencies: Mapping[str, int]
    """The currencies that the adapter pays in, each with its number of decimals, such as {"EUR": 2}. The first is the default."""
    by_hand: bool
    """Whether administrators report the outcome of payments, as for a file that somebody takes to a bank."""

    def check_address(self, address: str, currency: str) -> str:
        """Return the address in its normal form. Raises `AddressRefused`. Does no input or output."""
        ...

    def accept(self, payment: Payment, text: str) -> Mapping[str, Any]:
        """Check what a miner hands in for a payment, such as an invoice, and return it as JSON. Raises `AddressRefused`."""
        ...

    async def prepare(
        self, batch: BatchInfo, payments: Sequence[Payment], nonces: Mapping[str, int]
    ) -> Prepared:
        """Return transfers for some or all of the payments. `nonces` has the highest stored nonce of each source."""
        ...

    async def send(self, transfer: Transfer) -> Answer:
        """Send the transfer's bytes. A repetition has no further effect at the receiver."""
        ...

    async def poll(self, transfer: Transfer) -> Answer:
        """Report the outcome of a transfer that was sent."""
        ...

    async def close(self) -> None:
        """Close connections. The adapter is not called again."""
        ...


class WithoutHandIns:
    """The part of an adapter whose payments need nothing from the miner."""

    def accept(self, payment: Payment, text: str) -> Mapping[str, Any]:  # noqa: ARG002 - nothing is accepted
        """Refuse what a miner hands in."""
        raise AddressRefused("This payment needs nothing from you.")


@runtime_checkable
class Examinable(Protocol):
    """An adapter that can check its surroundings, for `aitbc-agent doctor`."""

    async def examine(self) -> None:
        """Ask the node or service whether it could pay, without any effect. Raises an exception whose message says what is wrong."""
        ...
