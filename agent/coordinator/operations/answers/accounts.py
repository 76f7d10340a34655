"""Answers about accounts, their money, their keys, and browsers' sessions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agent.coordinator.operations.callers import Role
from agent.core.values import fields
from agent.core.values.fields import Answer, example

SLOWED = "Until then few of its jobs run at a time (`coordinator.slowed_jobs`), because too many failed through their own errors"


class Wallet(Answer):
    """Amounts as decimal strings. `balance` can be spent (a miner's was earned); `held` is in escrow for unfinished jobs.

    A miner's balance is `available` for a payout, or `on_hold` because it was earned too recently; `pending` is in payouts that have not
    ended, and `paid_out` has arrived. For administrators, `balance` is the operator's fees and `issued` is the sum of all credits less
    debits and payouts.
    """

    model_config = example({"account_id": "account_1234567890", "balance": "999.50", "held": "0.10"})

    account_id: fields.AccountId | None = None
    miner_id: fields.MinerId | None = None
    balance: fields.Amount
    held: fields.Amount
    issued: fields.Amount | None = None
    available: fields.Amount | None = None
    on_hold: fields.Amount | None = None
    pending: fields.Amount | None = None
    paid_out: fields.Amount | None = None
    slowed_until: fields.Time | None = Field(default=None, description=SLOWED)


class Transaction(Answer):
    """A change of a balance. The payment of a job is `held` on submission; then `amount` (including `fee`) is paid and the rest is `refunded`.

    `audit` is the price of an audit that the client requested, `refund` the same back if there was no auditor. `forfeit` is the price of
    a job whose result was proven wrong, back from the miner. `funding` is money of the operator for its own audits.
    A payout is `held` when its batch is created; then it is paid, or `refunded` to the miner.
    """

    model_config = example(
        {
            "transaction_id": "tx_1234567890",
            "type": "payment",
            "status": "settled",
            "amount": "0.04",
            "created_at": "2024-01-01T12:00:00Z",
            "job_id": "job_1234567890",
            "job_name": "interview.mp3",
            "held": "0.10",
            "fee": "0",
            "refunded": "0.06",
            "miner_id": "miner_1234567890",
            "settled_at": "2024-01-01T12:04:00Z",
        }
    )

    transaction_id: fields.TransactionId
    type: Literal["credit", "debit", "payment", "payout", "funding", "audit", "refund", "forfeit"]
    status: Literal["pending", "settled", "refunded"]
    amount: fields.Amount
    created_at: fields.Time
    job_id: fields.JobId | None = None
    job_name: str | None = Field(default=None, description="For the job's account and administrators only")
    miner_id: fields.MinerId | None = None
    held: fields.Amount | None = None
    fee: fields.Amount | None = None
    refunded: fields.Amount | None = None
    settled_at: fields.Time | None = None
    note: str | None = None


class TransactionPage(Answer):
    """Transactions, newest first. If there are more, `next` is the value of `before` for the next page."""

    transactions: list[Transaction]
    next: str | None = None


class Booked(Answer):
    """A credit or a debit, and the account's balance after it."""

    transaction_id: fields.TransactionId
    account_id: fields.AccountId
    amount: fields.Amount
    balance: fields.Amount
    created_at: fields.Time


class Account(Answer):
    """An account, which owns jobs, artifacts and money."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])
    balance: fields.Amount
    held: fields.Amount
    created_at: fields.Time
    slowed_until: fields.Time | None = Field(default=None, description=SLOWED)


class AccountPage(Answer):
    """Accounts, oldest first. If there are more, `next` is the value of `after` for the next page."""

    accounts: list[Account]
    next: str | None = None


class Key(Answer):
    """A key without its secret. Fields that do not apply are omitted."""

    key_id: fields.KeyId
    role: Role
    name: str = Field(examples=["render farm"])
    account_id: fields.AccountId | None = None
    miner_id: fields.MinerId | None = None
    created_at: fields.Time
    revoked_at: fields.Time | None = None


class LoginLink(Answer):
    """A new login link, which can be used once."""

    token: str = Field(examples=["login_secret"])
    path: str = Field(description="Path on this server", examples=["/dashboard/#login=login_secret"])
    expires_at: fields.Time
