"""Settlements in the log: one leaf for each job for which money was held."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from aitbc._shape import JOB_ID, MINER_ID, exact, text, utc_time
from aitbc.canonical import parse_json
from aitbc.errors import FormatError
from aitbc.statement import money, parse_decimal

SETTLEMENT_TYPE = "https://aitbc.bubuit.net/settlement/v1"

Outcome = Literal["completed", "failed", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_FIELDS = (
    *("_type", "transaction_id", "job_id", "receipt_id", "miner_id", "outcome"),
    *("held", "paid", "fee", "refunded", "settled_at"),
)


def transaction_id(job_id: str) -> str:
    """Return the id of a job's only payment."""
    return "tx_" + job_id.removeprefix("job_")


@dataclass(frozen=True, slots=True)
class Settlement:
    """How the money held for a job was distributed: `held` is exactly `paid` + `refunded`.

    `paid` is the job's price. The coordinator received `fee` of it, and the owner of `miner_id` the rest. `refunded` went back to the
    client, who is not named. `receipt_id` is None unless the job completed; `miner_id` is None if nothing was paid. `settled_at` is
    RFC 3339 UTC. Raises `FormatError` if the values are inconsistent.
    """

    job_id: str
    receipt_id: str | None
    miner_id: str | None
    outcome: str
    held: Decimal
    paid: Decimal
    fee: Decimal
    refunded: Decimal
    settled_at: str

    def __post_init__(self) -> None:
        text(self.job_id, "The settlement's job_id", JOB_ID)
        utc_time(self.settled_at, "The settlement's settled_at")
        if self.outcome not in OUTCOMES:
            raise FormatError("The settlement's outcome is not one that a job can have.")
        # It follows from the job, so a settlement cannot point to the receipt of another one.
        expected = "receipt_" + self.job_id.removeprefix("job_") if self.outcome == "completed" else None
        if self.receipt_id != expected:
            raise FormatError("The settlement's receipt_id is not the one of its job and outcome.")
        # The client is never named, and a miner only as the one that was paid.
        if (self.miner_id is not None) != bool(self.paid):
            raise FormatError("The settlement must name a miner if something is paid, and otherwise none.")
        if self.miner_id is not None:
            text(self.miner_id, "The settlement's miner_id", MINER_ID)
        if any(amount < 0 for amount in (self.held, self.paid, self.fee, self.refunded)):
            raise FormatError("The settlement has a negative amount.")
        # Exact: these are decimals, and a settlement that loses a fraction would hide money.
        if self.held != self.paid + self.refunded or self.fee > self.paid:
            raise FormatError("The settlement's amounts do not add up.")

    def to_leaf(self) -> bytes:
        """Return the leaf, in canonical JSON.

        The values are ASCII strings and null, for which the standard library's encoder writes the canonical form, ten times as fast. A
        coordinator does this in the transaction that ends a job.
        """
        fields = {
            "_type": SETTLEMENT_TYPE,
            "transaction_id": transaction_id(self.job_id),
            "job_id": self.job_id,
            "receipt_id": self.receipt_id,
            "miner_id": self.miner_id,
            "outcome": self.outcome,
            "held": money(self.held),
            "paid": money(self.paid),
            "fee": money(self.fee),
            "refunded": money(self.refunded),
            "settled_at": self.settled_at,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def parse_settlement(leaf: bytes) -> Settlement:
    """Parse a settlement's leaf. Raises `FormatError` unless it is byte for byte the output of `Settlement.to_leaf`."""
    fields: Mapping[str, Any] = exact(parse_json(leaf), _FIELDS, "The settlement")
    amounts = ("held", "paid", "fee", "refunded")
    settlement = Settlement(
        job_id=fields["job_id"],
        receipt_id=fields["receipt_id"],
        miner_id=fields["miner_id"],
        outcome=text(fields["outcome"], "The settlement's outcome"),
        settled_at=fields["settled_at"],
        **{name: parse_decimal(fields[name], f"The settlement's {name}") for name in amounts},
    )
    if settlement.to_leaf() != leaf:
        raise FormatError("The settlement is not in its canonical form.")
    return settlement
