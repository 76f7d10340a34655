"""API keys, and authentication by a key or by what features accept instead."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from agent.coordinator.operations.callers import Caller, Credential
from agent.coordinator.operations.context import Context
from agent.coordinator.store import access, miners
from agent.coordinator.store.access import KeyRecord
from agent.coordinator.store.database import Connection
from agent.core.errors import Forbidden, NotFound, Unauthorized, ValidationFailed
from agent.core.values.quantities import format_optional_time, format_time
from aitbc.answers.accounts import Key, Role

CACHE_SECONDS: Final = 5.0
"""How long a key is accepted without a look-up in the database: another process may have revoked it."""
CACHE_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key, with its secret, which is not stored."""

    record: KeyRecord
    secret: str


def view(record: KeyRecord) -> Key:
    """Return the answer that describes a key."""
    return Key(
        key_id=record.key_id,
        role=Role(record.role),
        name=record.name,
        account_id=record.account_id,
        miner_id=record.miner_id,
        created_at=format_time(record.created_at),
        revoked_at=format_optional_time(record.revoked_at),
    )


def digest(secret: str) -> str:
    """Return the form in which a secret is stored: SHA-256 in hex. Secrets are random, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make_secret(prefix: str) -> str:
    """Return a new secret of 256 random bits, whose prefix states its purpose."""
    return f"aitbc_{prefix}_{secrets.token_urlsafe(32)}"


def fingerprint(credential: Credential) -> str:
    """Return a name for a credential from which the credential cannot be derived."""
    return digest(credential) if isinstance(credential, str) else credential.fingerprint


async def authenticate(context: Context, credential: Credential | None) -> Caller:
    """Return the caller with this credential. Raises `Unauthorized`."""
    if not credential:
        raise Unauthorized("Send your API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
    name = fingerprint(credential)
    callers = context.caches.callers
    cached = callers.get(name)
    # A key is sent with every call; without the cache each call would read the database for it.
    if cached is not None and context.clock() - cached[0] < CACHE_SECONDS:
        return cached[1]
    record = await _key(context, credential)
    if record is None:
        # It was valid at its last look-up: otherwise it would still be exempt from the limit for wrong keys.
        callers.pop(name, None)
        raise Unauthorized(
            "This API key is not valid; it may have been revoked."
            if isinstance(credential, str)
            else credential.refusal
        )
    caller = Caller(Role(record.role), record.account_id, record.miner_id, record.name, record.key_id)
    # Emptying it costs each caller one look-up; an order of use would cost something with every call.
    if len(callers) >= CACHE_LIMIT:
        callers.clear()
    callers[name] = (context.clock(), caller)
    return caller


async def _key(context: Context, credential: Credential) -> KeyRecord | None:
    if isinstance(credential, str):
        return await context.database.read(access.key_by_secret, digest(credential))
    return await context.database.read(credential.key, context.clock())


def require(caller: Caller, *roles: Role) -> Caller:
    """Return the caller if it has one of the roles. Raises `Forbidden`."""
    if caller.role not in roles:
        needed = " or ".join(f"a key of role {role}" for role in roles)
        raise Forbidden(f"This call needs {needed}; yours has the role {caller.role}.")
    return caller


async def create_account(context: Context, name: str) -> str:
    """Create an account. Return its id."""
    account_id = context.new_id("account")
    await context.database.write(access.add_account, account_id, name, context.clock())
    return account_id


async def create_key(
    context: Context, role: Role, *, name: str, account_id: str | None = None, miner_id: str | None = None
) -> CreatedKey:
    """Create a key. A client's key needs an account, a miner's key a miner. Raises `ValidationFailed`, `NotFound`."""
    key = new_key(context, role, name=name, account_id=account_id, miner_id=miner_id)
    await context.database.write(_add_key, key)
    return key


def new_key(
    context: Context, role: Role, *, name: str, account_id: str | None = None, miner_id: str | None = None
) -> CreatedKey:
    """Return a new key without storing it. Raises `ValidationFailed`."""
    if (role is Role.CLIENT) != (account_id is not None):
        raise ValidationFailed(
            "A client's key belongs to an account.",
            {"account_id": "required for the role client, and only for it"},
        )
    if (role is Role.MINER) != (miner_id is not None):
        raise ValidationFailed(
            "A miner's key belongs to a miner.", {"miner_id": "required for the role miner, and only for it"}
        )
    record = KeyRecord(context.new_id("key"), role.value, account_id, miner_id, name, context.clock())
    return CreatedKey(record, make_secret(role.value))


def store_key(connection: Connection, key: CreatedKey) -> None:
    """Store a key inside a transaction of another use case."""
    access.add_key(connection, key.record, digest(key.secret))


def _add_key(connection: Connection, key: CreatedKey) -> None:
    require_owners(connection, key.record.account_id, key.record.miner_id)
    store_key(connection, key)


def require_owners(connection: Connection, account_id: str | None, miner_id: str | None) -> None:
    """Raise `NotFound` unless the account and the miner exist, as far as they are given."""
    if account_id is not None and not access.account_exists(connection, account_id):
        raise NotFound(f"There is no account {account_id}.")
    if miner_id is not None and miners.find(connection, miner_id) is None:
        raise NotFound(f"There is no miner {miner_id}.")


async def list_keys(context: Context) -> list[KeyRecord]:
    """Return all keys, revoked ones included."""
    return await context.database.read(access.keys)


async def revoke_key(context: Context, key_id: str) -> KeyRecord:
    """Revoke a key and return its record. Raises `NotFound`."""
    if not await context.database.write(access.revoke_key, key_id, context.clock()):
        raise NotFound(f"There is no valid key {key_id}.")
    # All of them: the cache is keyed by the secret, which a revocation by id does not know.
    context.caches.forget_callers()
    record = await context.database.read(access.key, key_id)
    if record is None:
        raise NotFound(f"There is no key {key_id}.")
    return record
