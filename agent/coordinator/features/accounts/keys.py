"""The caller's key, and other keys of its account."""

from __future__ import annotations

from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import CreatedKey
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.coordinator.store.access import KeyRecord, keys_of
from agent.coordinator.store.access import key as find_key
from agent.core.errors import Conflict, NotFound
from aitbc.answers.accounts import Role


async def own_key(context: Context, caller: Caller) -> KeyRecord:
    """Return the caller's key. Raises `NotFound`."""
    record = await context.database.read(find_key, caller.key_id)
    if record is None:
        raise NotFound(f"There is no key {caller.key_id}.")
    return record


async def own_keys(context: Context, caller: Caller) -> list[KeyRecord]:
    """Return the valid keys of the caller's account, oldest first. Raises `Conflict` if the caller has no account."""
    return await context.database.read(keys_of, _account(caller))


async def create_own_key(context: Context, caller: Caller, name: str) -> CreatedKey:
    """Create another client's key for the caller's account. Raises `Conflict` if the account is at its limit."""
    key = access.new_key(context, Role.CLIENT, name=name, account_id=_account(caller))
    await context.database.write(_add_own_key, key, context.settings.max_keys_per_account)
    return key


def _add_own_key(connection: Connection, key: CreatedKey, limit: int) -> None:
    account_id = key.record.account_id or ""
    # Two requests at once would otherwise both find the last slot free.
    locks.account(connection, account_id)
    if len(keys_of(connection, account_id)) >= limit:
        raise Conflict(
            f"This account has {limit} keys, which is the limit. Revoke one that is no longer used.",
            {"limit": limit},
        )
    access.store_key(connection, key)


async def revoke_own_key(context: Context, caller: Caller, key_id: str) -> None:
    """Revoke another key of the caller's account. Raises `NotFound`, and `Conflict` for the key of the request itself."""
    if key_id == caller.key_id:
        raise Conflict("This request uses that key; `DELETE /v1/key` revokes it.", {"key_id": key_id})
    # A key of another account is answered as one that does not exist: its id must not be probed.
    if key_id not in {record.key_id for record in await own_keys(context, caller)}:
        raise NotFound(f"There is no valid key {key_id}.")
    await access.revoke_key(context, key_id)


def _account(caller: Caller) -> str:
    """Return the caller's account. Raises `Conflict` if its key has none."""
    if caller.account_id is None:
        raise Conflict("This call needs a key that belongs to an account; use a client's key.")
    return caller.account_id
