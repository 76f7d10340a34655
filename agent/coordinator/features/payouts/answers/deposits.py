"""Answers about deposits."""

from __future__ import annotations

from pydantic import Field

from agent.core.values import fields
from agent.core.values.fields import Answer, example


class Deposit(Answer):
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


class DepositPage(Answer):
    """Deposits, newest first. If there are more, `next` is the value of `before` for the next page."""

    deposits: list[Deposit]
    next: str | None = None
