"""Answers about accounts, their money, their keys, and the miners that join with their tokens."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import Record

SLOWED = "Until then few of its jobs run at a time (`coordinator.slowed_jobs`), because too many failed through their own errors"
EnrolmentStatus = Literal["valid", "used", "expired", "revoked"]


class Role(StrEnum):
    """The role of a key."""

    CLIENT = "client"
    MINER = "miner"
    ADMIN = "admin"


class Wallet(Record):
    """Amounts as decimal strings. `balance` can be spent (a miner's was earned); `held` is in escrow for unfinished jobs.

    A miner's balance is `available` for a payout, or `on_hold` because it was earned too recently; `pending` is in payouts that have not
    ended, and `paid_out` has arrived. For administrators, `balance` is the operator's fees and `issued` is the sum of all credits less
    debits and payouts.
    """

    model_config = example({"account_id": "account_1234567890", "balance": "999.50", "held": "0.10"})
    needs = ("balance", "held")

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


class Transaction(Record):
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


class TransactionList(Record):
    """Transactions, newest first. If there are more, `next` is the value of `before` for the next page."""

    transactions: list[Transaction]
    next: str | None = None


class Booked(Record):
    """A credit or a debit, and the account's balance after it."""

    transaction_id: fields.TransactionId
    account_id: fields.AccountId
    amount: fields.Amount
    balance: fields.Amount
    created_at: fields.Time


class Account(Record):
    """An account, which owns jobs, artifacts and money."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])
    balance: fields.Amount
    held: fields.Amount
    created_at: fields.Time
    slowed_until: fields.Time | None = Field(default=None, description=SLOWED)


class NewAccount(Record):
    """A new account."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])


class AccountList(Record):
    """Accounts, oldest first. If there are more, `next` is the value of `after` for the next page."""

    accounts: list[Account]
    next: str | None = None


class Key(Record):
    """A key without its secret. Fields that do not apply are omitted."""

    key_id: fields.KeyId
    role: Role
    name: str = Field(examples=["render farm"])
    account_id: fields.AccountId | None = None
    miner_id: fields.MinerId | None = None
    created_at: fields.Time
    revoked_at: fields.Time | None = None


class KeyList(Record):
    """All keys, including revoked ones."""

    # `keys` is a method of a mapping.
    listed: list[Key] = Field(alias="keys")


class OwnKeyList(Record):
    """The valid keys of the caller's account, oldest first, and their maximum number."""

    listed: list[Key] = Field(alias="keys")
    limit: int = Field(examples=[50])


class NewKey(Key):
    """A new key, with its secret."""

    key: str = Field(description="The secret", examples=["aitbc_client_secret"])


class LoginKey(Record):
    """A new key for the dashboard, with its secret."""

    role: Role
    key: str = Field(description="The secret", examples=["aitbc_client_secret"])
    key_id: fields.KeyId


class LoginKeyList(Record):
    """The keys that a login link yields, one for each role."""

    listed: list[LoginKey] = Field(alias="keys")


class NewLogin(Record):
    """A new login link, which can be used once."""

    token: str = Field(examples=["login_secret"])
    path: str = Field(description="Path on this server", examples=["/dashboard/#login=login_secret"])
    expires_at: fields.Time


class EnrolledMiner(Record):
    """A miner that has enrolled with a token."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])


class Enrolment(Record):
    """An enrolment token without its secret.

    `created_by` is the administrator's key that created it, null if the agent did for its own miner; `miners` enrolled with it last.
    """

    enrolment_id: fields.EnrolmentId
    status: EnrolmentStatus
    note: str = Field(examples=["the new rack"])
    owner: str | None = Field(
        description="Whose miners join with it; they form one fleet", examples=["alice"]
    )
    uses: int = Field(description="Number of miners that could join with it", examples=[1])
    uses_left: int = Field(examples=[0])
    created_at: fields.Time
    created_by: fields.KeyId | None
    created_by_name: str | None = Field(examples=["operations"])
    expires_at: fields.Time
    used_at: fields.Time | None = Field(description="When a miner last enrolled with it")
    revoked_at: fields.Time | None = Field(examples=[None])
    miners: list[EnrolledMiner]


class EnrolmentList(Record):
    """Enrolment tokens, newest first. If there are more, `next` is the value of `before` for the next page."""

    enrolments: list[Enrolment]
    next: str | None = Field(default=None, examples=[None])


class NewEnrolment(Record):
    """A new enrolment token."""

    enrolment_id: fields.EnrolmentId
    enrolment_token: str = Field(examples=["enrol_secret"])
    uses: int = Field(examples=[1])
    expires_at: fields.Time
    join_code: str | None = Field(
        default=None,
        description="What `aitbc-agent join` takes: the coordinator's address, its log key and the token",
        examples=["AITBC1AAAA"],
    )
    join_picture: str | None = Field(
        default=None,
        description="The code as a QR picture, a `data:` URL",
        examples=["data:image/svg+xml,..."],
    )
