"""Login links for the dashboard. Each can be used once, within minutes, and yields new keys."""

from __future__ import annotations

import secrets
from typing import Final

import structlog

from agent.coordinator.features.browser import store
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.coordinator.features.browser.store import LoginRecord
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import CreatedKey, digest
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners import sessions
from agent.coordinator.store import miners
from agent.core.errors import Unauthorized
from agent.core.values.quantities import format_time
from agent.sections import section_of
from aitbc import keys
from aitbc.answers.accounts import NewLogin, Role
from aitbc.canonical import b64decode
from aitbc.dsse import verify_detached
from aitbc.errors import VerificationError
from aitbc.statement import LOGIN_TYPE

DASHBOARD: Final = "/dashboard/"

log = structlog.get_logger()


async def create_login(
    context: Context, *, account_id: str | None = None, miner_id: str | None = None, admin: bool = False
) -> NewLogin:
    """Create a link that yields a key for each of the arguments, or an administrator's key without any. Raises `NotFound`."""
    token = secrets.token_urlsafe(32)
    expires_at = context.clock() + section_of(context.settings, BrowserSettings).login_seconds
    record = LoginRecord(account_id, miner_id, admin or (account_id is None and miner_id is None))
    await context.database.write(_add, context, digest(token), record, expires_at)
    return NewLogin(token=token, path=f"{DASHBOARD}#login={token}", expires_at=format_time(expires_at))


async def create_signed_login(context: Context, nonce: str, public_key: str, signature: str) -> NewLogin:
    """Create a link for the owner of a miner, who has proved to have its key: both are base64, the signature is over `aitbc.keys.login_payload`. Raises `Unauthorized`, `MinerExcluded`, `NotFound`."""
    try:
        key = b64decode(public_key)
        payload = keys.login_payload(nonce, context.signer.vkey, key)
        good = verify_detached(LOGIN_TYPE, payload, signature, key)
    except VerificationError as error:
        raise Unauthorized(f"The signature cannot be checked: {error}") from None
    if not good:
        raise Unauthorized("The signature does not match the key, the nonce and the key of this log.")
    miner_id = keys.miner_id(key)
    # The nonce is used only after the signature is valid: nobody can use up another caller's challenge.
    await context.database.write(_spend, miner_id, nonce, context.clock())
    return await create_login(context, miner_id=miner_id)


def _spend(connection: Connection, miner_id: str, nonce: str, now: float) -> None:
    sessions.spend_challenge(connection, nonce, now)
    miner = miners.find(connection, miner_id)
    if miner is not None:
        sessions.require_not_excluded(miner)


def _add(
    connection: Connection, context: Context, sha256: str, record: LoginRecord, expires_at: float
) -> None:
    access.require_owners(connection, record.account_id, record.miner_id)
    login_id = context.new_id("login")
    store.add_login(connection, login_id, sha256, record, now=context.clock(), expires_at=expires_at)


async def login(context: Context, token: str) -> list[CreatedKey]:
    """Use a link's token. Return the new keys. Raises `Unauthorized`."""
    await check(context, token)
    new_keys = await context.database.write(redeem, context, digest(token))
    log.info("dashboard_logged_in", keys=[key.record.key_id for key in new_keys])
    return new_keys


async def check(context: Context, token: str) -> None:
    """Raise `Unauthorized` for an invalid token. A read suffices, so that guesses do not load the database's writer."""
    if await context.database.read(store.find_login, digest(token), context.clock()) is None:
        raise _no_such_link()


def redeem(connection: Connection, context: Context, sha256: str) -> list[CreatedKey]:
    """Use a link and create its keys, inside a transaction of another use case. Raises `Unauthorized`."""
    now = context.clock()
    grant = store.find_login(connection, sha256, now)
    if grant is None or not store.use_login(connection, sha256):
        raise _no_such_link()
    name = f"dashboard {format_time(now).partition('T')[0]}"
    new_keys = []
    if grant.account_id is not None:
        new_keys.append(access.new_key(context, Role.CLIENT, name=name, account_id=grant.account_id))
    if grant.miner_id is not None:
        new_keys.append(access.new_key(context, Role.MINER, name=name, miner_id=grant.miner_id))
    if grant.admin:
        new_keys.append(access.new_key(context, Role.ADMIN, name=name))
    for key in new_keys:
        access.store_key(connection, key)
    return new_keys


def _no_such_link() -> Unauthorized:
    return Unauthorized(
        "This login link has been used or has expired. Make a new one with `aitbc-agent login`, or sign in with an API key."
    )
