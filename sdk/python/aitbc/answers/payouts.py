"""Answers about payouts, payout addresses and deposits. `aitbc.leaves.payouts` verifies payouts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import AnswerPart, Record

BatchStatus = Literal["draft", "created", "approved", "sending", "confirmed", "failed", "cancelled"]
AdapterName = Annotated[str, Field(examples=["file"])]
Currency = Annotated[str, Field(examples=["EUR"])]
SentAmount = Annotated[
    str, Field(description="Amount in the batch's currency, a decimal string", examples=["11.42"])
]
Rate = Annotated[
    str,
    Field(description="What one unit of the ledger's money is worth in the currency", examples=["0.9137"]),
]
Address = Annotated[str, Field(examples=["DE89370400440532013000"])]


class PaymentState(StrEnum):
    """The state of a payment."""

    CREATED = "created"
    APPROVED = "approved"
    PREPARED = "prepared"
    """The bytes that pay it are stored, and may have been sent."""
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    """It is certain that it was not paid; the money is back in the miner's earnings."""
    CANCELLED = "cancelled"
    """Its batch was cancelled; the money is back in the miner's earnings."""

    @property
    def final(self) -> bool:
        """Whether this state is final."""
        return self in {PaymentState.CONFIRMED, PaymentState.FAILED, PaymentState.CANCELLED}


class Omitted(StrEnum):
    """Why a miner that has earned money is not part of a batch."""

    NO_ADDRESS = "no_address"
    """It has no address of the batch's adapter and currency."""
    EXCLUDED = "excluded"
    """An operator has excluded it."""
    NEW = "new"
    """It registered too recently (`payouts.new_miner_hours`)."""
    ON_HOLD = "on_hold"
    """All that it has earned is too recent (`payouts.hold_hours`), or the cut-off is earlier."""
    BELOW_MINIMUM = "below_minimum"
    """What could be paid is less than the batch's minimum, or rounds to nothing in its currency."""
    BATCH_FULL = "batch_full"
    """The batch has the maximum number of payments; the next one pays it."""


class Payout(Record):
    """A payment of a batch. `reason` is why it failed, `waiting_for` what its miner still has to hand in.

    `reference` is what identifies it outside: a transaction's hash, or a bank's reference.
    """

    payout_id: fields.PayoutId
    batch_id: fields.BatchId
    miner_id: fields.MinerId
    miner_name: str | None = Field(default=None, examples=["rig-1"])
    adapter: AdapterName
    address: Address
    currency: Currency
    amount: fields.Amount
    sent_amount: SentAmount
    status: PaymentState = Field(examples=["confirmed"])
    created_at: fields.Time
    finished_at: fields.Time | None = None
    reference: str | None = Field(default=None, examples=["0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204"])
    reason: str | None = Field(default=None, examples=["The bank returned the payment."])
    waiting_for: str | None = Field(
        default=None, examples=["an invoice for 11423000 msat with payout_1234567890 in its description"]
    )


class OmittedMiner(AnswerPart):
    """A miner that has earned money but is not part of the batch, what could be paid to it, and why it is not."""

    miner_id: fields.MinerId
    miner_name: str | None = Field(default=None, examples=["rig-2"])
    amount: fields.Amount
    reason: Omitted = Field(examples=["no_address"])


class PayoutTransfer(AnswerPart):
    """What the adapter sends together. `error` is why the last call failed; it is repeated at `next_call_at`."""

    transfer_id: str = Field(examples=["transfer_1234567890"])
    status: Literal["prepared", "sent", "finished"]
    reference: str = Field(examples=["0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204"])
    nonce: int | None = None
    attempts: int = Field(examples=[1])
    sent_at: fields.Time | None = None
    next_call_at: fields.Time | None = None
    error: str | None = None


class PayoutBatch(Record):
    """A batch of payouts without its payments. A draft has no `batch_id`. `counts` are its payments by status.

    `cut_off` is the time up to which earnings were counted. `created_by` and `approved_by` are keys. `error` is why the adapter could
    not prepare its payments; that is repeated.
    """

    batch_id: fields.BatchId | None
    status: BatchStatus
    adapter: AdapterName
    currency: Currency
    rate: Rate
    rounding: Literal["down"] = "down"
    decimals: int = Field(examples=[2])
    cut_off: fields.Time
    minimum: fields.Amount
    count: int = Field(examples=[12])
    counts: dict[PaymentState, int] = Field(examples=[{"confirmed": 12}])
    amount: fields.Amount
    note: str = Field(examples=["November"])
    created_at: fields.Time
    created_by: str | None = Field(default=None, examples=["key_1234567890"])
    approved_at: fields.Time | None = None
    approved_by: str | None = Field(default=None, examples=["key_1234567891"])
    cancelled_by: str | None = None
    finished_at: fields.Time | None = None
    error: str | None = None


class PayoutBatchDetails(PayoutBatch):
    """A batch with its payments, its transfers, its manifest as in the log, and, for a draft, the miners that it omits."""

    payouts: list[Payout]
    sent_amount: SentAmount
    manifest: str | None = None
    transfers: list[PayoutTransfer] = Field(default_factory=list)
    omitted: list[OmittedMiner] = Field(default_factory=list)


class PayoutAdapter(AnswerPart):
    """An adapter of the settings. `fault` is why it cannot be used. With `by_hand`, administrators report the outcomes."""

    adapter: AdapterName
    currencies: dict[str, int] = Field(description="Currencies with their decimals", examples=[{"EUR": 2}])
    by_hand: bool
    fault: str | None = None


class PayoutBatchList(Record):
    """Batches, newest first, and the adapters. If there are more batches, `next` is the value of `before` for the next page."""

    batches: list[PayoutBatch]
    adapters: list[PayoutAdapter]
    next: str | None = None


class MinerMoney(Record):
    """Where a miner's earnings are. `available` can be paid out now, `on_hold` was earned too recently.

    `pending` is in batches that have not ended; `paid_out` has arrived. After a forfeit, `available` may be 0 for a while.
    """

    available: fields.Amount
    on_hold: fields.Amount
    pending: fields.Amount
    paid_out: fields.Amount


class MinerPayouts(MinerMoney):
    """A miner's payments, newest first. If there are more, `next` is the value of `before` for the next page."""

    miner_id: fields.MinerId
    payouts: list[Payout]
    next: str | None = None


class PayoutDestination(Record):
    """An address, and when it took or takes effect. `sequence` is the number of the statement that names it."""

    adapter: AdapterName
    currency: Currency
    address: Address
    sequence: int = Field(examples=[1795532400000])
    created_at: fields.Time
    effective_at: fields.Time


class PayoutAddresses(Record):
    """The address in force, and the change that has not taken effect yet. A miner without an address is not paid.

    `origin` is what a statement must name; `delay_hours` is how long a change waits; `adapters` can be chosen.
    """

    miner_id: fields.MinerId
    address: PayoutDestination | None
    pending: PayoutDestination | None
    origin: str = Field(examples=["log.example.org"])
    delay_hours: float = Field(examples=[72])
    adapters: list[PayoutAdapter]


class Deposit(Record):
    """A payment that arrived outside, and the credit that followed. `external_amount`, in `currency`, is `rate` times `amount`."""

    model_config = example(
        {
            "source": "http",
            "external_id": "tr_9f3b",
            "account_id": "account_1234567890",
            "amount": "109.44511327",
            "external_amount": "100.00",
            "currency": "EUR",
            "rate": "0.9137",
            "note": "invoice 17",
            "transaction_id": "tx_1234567890",
            "created_at": "2024-01-01T12:00:00Z",
        }
    )

    source: str
    external_id: str
    account_id: fields.AccountId
    amount: fields.Amount
    external_amount: str
    currency: str | None = Field(default=None, description="Absent if the amount was in the ledger's money")
    rate: str
    note: str | None = None
    transaction_id: fields.TransactionId
    created_at: fields.Time


class DepositList(Record):
    """Deposits, newest first. If there are more, `next` is the value of `before` for the next page."""

    deposits: list[Deposit]
    next: str | None = None


class PayoutProof(Record):
    """A payment, its path to the root in its batch's manifest, and the proof that the log includes the manifest.

    `aitbc-agent payouts verify` and both SDKs verify it offline.
    """

    model_config = example(
        {
            "_type": "https://aitbc.bubuit.net/payout-proof/v1",
            "payment": {"payout_id": "payout_1234567890"},
            "index": 0,
            "hashes": [],
            "manifest": "{}",
            "proof": "c2sp.org/tlog-proof@v1",
        }
    ) | {"populate_by_name": True}

    type: str = Field(alias="_type")
    payment: dict[str, Any]
    index: int
    hashes: list[str]
    manifest: str
    proof: str
