"""Accounts, API keys and enrolment tokens. Secrets are stored as SHA-256 only; they have 160 random bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, insert, select, text, update

from agent.coordinator.store import records
from agent.coordinator.store.schema.tables import accounts, api_keys, enrolments

MINERS: Final = "account_payouts"
"""The account of transactions that belong to miners and to no client. It has no money and no keys, and is in no list."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An owner of jobs, artifacts and money."""

    account_id: str
    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key without its secret. Clients' keys have `account_id`, those of miners' owners `miner_id`."""

    key_id: str
    role: str
    account_id: str | None
    miner_id: str | None
    name: str
    created_at: float
    revoked_at: float | None = None


KEY_COLUMNS = (
    api_keys.c.key_id, api_keys.c.role, api_keys.c.account_id, api_keys.c.miner_id, api_keys.c.name, api_keys.c.created_at,
    api_keys.c.revoked_at,
)  # fmt: skip


def add_account(connection: Connection, account_id: str, name: str, now: float) -> None:
    """Store a new account."""
    connection.execute(insert(accounts), {"account_id": account_id, "name": name, "created_at": now})


def ensure_account(connection: Connection, account_id: str, name: str, now: float) -> None:
    """Store an account of the coordinator itself unless it exists, even if another transaction does the same."""
    row = text(
        "INSERT INTO accounts (account_id, name, created_at) VALUES (:account, :name, :now) ON CONFLICT (account_id) DO NOTHING"
    )
    connection.execute(row, {"account": account_id, "name": name, "now": now})


def accounts_page(connection: Connection, *, limit: int, after_id: str | None) -> list[AccountRecord]:
    """Return accounts of clients, oldest first, after the id `after_id`."""
    query = select(accounts.c.account_id, accounts.c.name, accounts.c.created_at)
    query = query.where(accounts.c.account_id != MINERS)
    if after_id is not None:
        query = query.where(accounts.c.account_id > after_id)
    rows = connection.execute(query.order_by(accounts.c.account_id).limit(limit))
    return [AccountRecord(*row) for row in rows]


def account_exists(connection: Connection, account_id: str) -> bool:
    """Return whether the account exists."""
    return connection.execute(select(accounts).where(accounts.c.account_id == account_id)).first() is not None


def first_account(connection: Connection, name: str) -> str | None:
    """Return the id of the oldest account with this name, or None."""
    query = select(accounts.c.account_id).where(accounts.c.name == name)
    return connection.scalar(query.order_by(accounts.c.created_at, accounts.c.account_id).limit(1))


def add_key(connection: Connection, record: KeyRecord, sha256: str) -> None:
    """Store a new key."""
    values = {column.name: getattr(record, column.name) for column in KEY_COLUMNS}
    connection.execute(insert(api_keys), {**values, "sha256": sha256})


def key_by_secret(connection: Connection, sha256: str) -> KeyRecord | None:
    """Return the key with this secret, or None if it is unknown or revoked."""
    query = select(*KEY_COLUMNS).where(api_keys.c.sha256 == sha256, api_keys.c.revoked_at.is_(None))
    return records.find(connection, KeyRecord, query)


def key(connection: Connection, key_id: str) -> KeyRecord | None:
    """Return the key with this id, or None."""
    return records.find(connection, KeyRecord, select(*KEY_COLUMNS).where(api_keys.c.key_id == key_id))


def keys_of(connection: Connection, account_id: str) -> list[KeyRecord]:
    """Return the valid keys of an account, oldest first."""
    query = select(*KEY_COLUMNS).where(api_keys.c.account_id == account_id, api_keys.c.revoked_at.is_(None))
    return records.find_all(connection, KeyRecord, query.order_by(api_keys.c.key_id))


def keys(connection: Connection) -> list[KeyRecord]:
    """Return all keys, including revoked ones, oldest first."""
    return records.find_all(connection, KeyRecord, select(*KEY_COLUMNS).order_by(api_keys.c.key_id))


def revoke_key(connection: Connection, key_id: str, now: float) -> bool:
    """Revoke a key. Return False if it does not exist or is already revoked."""
    change = (
        update(api_keys)
        .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return connection.execute(change).rowcount == 1


def key_names(connection: Connection, key_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of keys by id, including revoked ones."""
    query = select(api_keys.c.key_id, api_keys.c.name).where(api_keys.c.key_id.in_(set(key_ids)))
    return dict(connection.execute(query).all())


def use_enrolment(connection: Connection, sha256: str, now: float) -> str | None:
    """Use a token once and return its id. Return None if it is unknown, expired, revoked or used up."""
    values = {"uses_left": enrolments.c.uses_left - 1, "used_at": now}
    if connection.execute(update(enrolments).where(*_good(sha256, now)).values(values)).rowcount != 1:
        return None
    query = select(enrolments.c.enrolment_id).where(enrolments.c.sha256 == sha256)
    enrolment_id: str = connection.execute(query).scalar_one()
    return enrolment_id


def has_enrolment(connection: Connection, sha256: str, now: float) -> str | None:
    """Return the id of a token that `use_enrolment` would accept, or None."""
    return connection.execute(select(enrolments.c.enrolment_id).where(*_good(sha256, now))).scalar()


def _good(sha256: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        enrolments.c.sha256 == sha256,
        enrolments.c.expires_at > now,
        enrolments.c.uses_left > 0,
        enrolments.c.revoked_at.is_(None),
    )
