"""The key that stands for programs without one."""

from __future__ import annotations

from sqlalchemy import Connection, select

from agent.coordinator.store import records
from agent.coordinator.store.access import KEY_COLUMNS, KeyRecord, first_account
from agent.coordinator.store.schema.tables import api_keys
from aitbc.answers.accounts import Role


def oldest_key(connection: Connection, account: str) -> KeyRecord | None:
    """Return the oldest valid client key of an account, which is given by name or id; None without one."""
    account_id = first_account(connection, account) or account
    keys = select(*KEY_COLUMNS).where(
        api_keys.c.account_id == account_id,
        api_keys.c.role == Role.CLIENT.value,
        api_keys.c.revoked_at.is_(None),
    )
    return records.find(
        connection, KeyRecord, keys.order_by(api_keys.c.created_at, api_keys.c.key_id).limit(1)
    )
