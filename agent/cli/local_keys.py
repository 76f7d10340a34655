"""The keys of the agent's own user, a client and an administrator, created at the first start and stored.

A database gets them once: a start that finds no valid ones in its file issues no money and adds no administrator.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from agent.cli.agent_file import write_private
from agent.coordinator.operations.accounts import access, bookings
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access as store
from agent.coordinator.store import locks
from agent.core.errors import ConfigurationError
from aitbc.answers.accounts import Role

ACCOUNT: Final = "local"
CLIENT: Final = "local client"
ADMINISTRATOR: Final = "local administrator"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """Secrets of the local client and administrator."""

    account_id: str
    client_key: str
    admin_key: str


async def local_keys(context: Context, path: Path) -> LocalKeys:
    """Return the keys stored at `path` (mode 0600), if they are valid in the database.

    A new database adopts the keys of the file, so that all replicas can be given the same before the first one starts, or gets new ones. Keys that were
    lost are replaced by new ones of the same account, if the database is a file: who owns it owns the installation. On a server, which other
    replicas use with these keys, the start is refused. The account is credited once. Raises `ConfigurationError`.
    """
    stored = _read(path)
    keys = await context.database.write(_settle, context, path, stored)
    if keys != stored:
        write_private(path, asdict(keys))
    await bookings.credit_once(
        context, keys.account_id, context.settings.local_credit, "the agent's own account"
    )
    return keys


def _settle(connection: Connection, context: Context, path: Path, stored: LocalKeys | None) -> LocalKeys:
    # Two replicas that start at once decide one after the other.
    locks.issued(connection)
    if stored is not None and _are_valid(connection, stored):
        return stored
    present = store.keys(connection)
    if not present:
        return _added(connection, context, stored or _new(context, context.new_id("account")))
    if context.database.concurrent and any(_is_administrator(key) for key in present):
        raise ConfigurationError(
            f"{path} is missing, or its keys are not valid in this database, which has an installation already. Copy "
            f"{path.name} from the coordinator directory of another replica, or from your backup."
        )
    return _replaced(connection, context, present)


def _replaced(connection: Connection, context: Context, present: list[store.KeyRecord]) -> LocalKeys:
    """Replace keys that were lost, which may be in the wrong hands, by new ones of the same account."""
    # The agent's own account is the first of its name: nobody could create another one before its keys existed.
    account_id = store.first_account(connection, ACCOUNT) or context.new_id("account")
    for key in present:
        of_account = key.role == Role.CLIENT and key.account_id == account_id and key.name == CLIENT
        if of_account or (_is_administrator(key) and key.name == ADMINISTRATOR):
            store.revoke_key(connection, key.key_id, context.clock())
    log.warning("local_keys_replaced", account_id=account_id)
    return _added(connection, context, _new(context, account_id))


def _new(context: Context, account_id: str) -> LocalKeys:
    client = access.new_key(context, Role.CLIENT, name=CLIENT, account_id=account_id)
    administrator = access.new_key(context, Role.ADMIN, name=ADMINISTRATOR)
    return LocalKeys(account_id, client.secret, administrator.secret)


def _added(connection: Connection, context: Context, keys: LocalKeys) -> LocalKeys:
    if not store.account_exists(connection, keys.account_id):
        store.add_account(connection, keys.account_id, ACCOUNT, context.clock())
    for role, name, secret, account_id in (
        (Role.CLIENT, CLIENT, keys.client_key, keys.account_id),
        (Role.ADMIN, ADMINISTRATOR, keys.admin_key, None),
    ):
        record = store.KeyRecord(context.new_id("key"), role.value, account_id, None, name, context.clock())
        store.add_key(connection, record, access.digest(secret))
    return keys


def _read(path: Path) -> LocalKeys | None:
    try:
        keys = LocalKeys(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return keys if all(isinstance(value, str) for value in asdict(keys).values()) else None


def _are_valid(connection: Connection, keys: LocalKeys) -> bool:
    client = store.key_by_secret(connection, access.digest(keys.client_key))
    administrator = store.key_by_secret(connection, access.digest(keys.admin_key))
    return (
        client is not None
        and client.account_id == keys.account_id
        and administrator is not None
        and _is_administrator(administrator)
    )


def _is_administrator(key: store.KeyRecord) -> bool:
    return key.role == Role.ADMIN and key.revoked_at is None
