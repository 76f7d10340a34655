"""Browser sessions. A login link or a key begins one; signing out, the account's owner or the expiry ends it.

The browser holds a cookie and no key, so a script in the page can use the session while the page is open, but cannot steal it.
Sessions survive a restart of the coordinator.
"""

from __future__ import annotations

import secrets
from typing import Final

import structlog

from agent.coordinator.features.browser import logins, store
from agent.coordinator.features.browser.answers import BrowserSession
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.coordinator.features.browser.store import SessionKey, SessionRecord
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access as key_store
from agent.core.errors import NotFound, Unauthorized
from agent.core.values.quantities import format_time
from agent.sections import section_of
from aitbc.answers.accounts import Role

EXPIRED_AT_ONCE: Final = 100
"""Sessions that one maintenance round ends."""
REVOKED_KEY_SECONDS: Final = 30 * 86_400.0
"""How long administrators can see a revoked key."""

log = structlog.get_logger()


async def begin_with_link(context: Context, token: str, current: str | None) -> tuple[str, SessionRecord]:
    """Begin a session with a login link's token. Its keys are created for the session and never shown. Raises `Unauthorized`.

    `current` is the cookie of a session that this one replaces; the new session keeps its other roles. Return the new cookie and the
    session.
    """
    # Checked without a write first, since anybody can send tokens.
    await logins.check(context, token)
    secret = _new_secret()
    record = await context.database.write(_begin_with_link, context, token, secret, current)
    return _begun(context, secret, record)


def _begin_with_link(
    connection: Connection, context: Context, token: str, secret: str, current: str | None
) -> SessionRecord:
    login_keys = logins.redeem(connection, context, digest(token))
    keys = [SessionKey(key.record, own=True) for key in login_keys]
    return _add(connection, context, keys, secret, current)


async def begin_with_key(context: Context, key: str, current: str | None) -> tuple[str, SessionRecord]:
    """Begin a session with a key, which stays valid when the session ends. See `begin_with_link`. Raises `Unauthorized`."""
    caller = await access.authenticate(context, key)
    secret = _new_secret()
    record = await context.database.write(_begin_with_key, context, caller.key_id, secret, current)
    return _begun(context, secret, record)


def _begin_with_key(
    connection: Connection, context: Context, key_id: str, secret: str, current: str | None
) -> SessionRecord:
    record = key_store.key(connection, key_id)
    # The key may have been revoked since it was authenticated.
    if record is None or record.revoked_at is not None:
        raise Unauthorized("This API key is not valid; it may have been revoked.")
    return _add(connection, context, [SessionKey(record, own=False)], secret, current)


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _add(
    connection: Connection, context: Context, keys: list[SessionKey], secret: str, current: str | None
) -> SessionRecord:
    now = context.clock()
    former = None if current is None else store.find(connection, digest(current), now)
    if former is not None:
        roles = {key.key.role for key in keys}
        # A browser can be client, owner and administrator at the same time, with a key for each.
        keys = [*keys, *(key for key in former.keys if key.key.role not in roles)]
        store.end(connection, [former.session_id], now, keeping=[key.key.key_id for key in keys])
    expires_at = now + section_of(context.settings, BrowserSettings).session_seconds
    record = SessionRecord(context.new_id("session"), now, expires_at, tuple(keys))
    store.add(connection, record, digest(secret))
    return record


def _begun(context: Context, secret: str, record: SessionRecord) -> tuple[str, SessionRecord]:
    # What is cached about the former session must not be used any more.
    context.caches.forget_callers()
    log.info("browser_signed_in", session_id=record.session_id, keys=[key.key.key_id for key in record.keys])
    return secret, record


async def find(context: Context, secret: str) -> SessionRecord | None:
    """Return the session with this cookie; None if it has ended."""
    return await context.database.read(store.find, digest(secret), context.clock())


async def end(context: Context, secret: str) -> None:
    """End the session with this cookie, if it has not ended."""
    record = await find(context, secret)
    if record is not None:
        await _end(context, record.session_id)


async def list_sessions(context: Context, caller: Caller) -> list[SessionRecord]:
    """Return the sessions of the caller's account or miner, or all sessions for an administrator."""
    owner = {"account_id": caller.account_id, "miner_id": caller.miner_id}
    if caller.role is Role.ADMIN:
        owner = {}
    return await context.database.read(store.of_owner, context.clock(), **owner)


async def end_other(context: Context, caller: Caller, session_id: str) -> None:
    """End a session of the caller's account or miner. Raises `NotFound`, also for another owner's session."""
    if session_id not in {record.session_id for record in await list_sessions(context, caller)}:
        raise NotFound(f"There is no session {session_id}.", {"session_id": session_id})
    await _end(context, session_id)


async def _end(context: Context, session_id: str) -> None:
    await context.database.write(store.end, [session_id], context.clock())
    context.caches.forget_callers()
    log.info("browser_signed_out", session_id=session_id)


async def expire_due(context: Context) -> None:
    """End expired sessions, and revoke the keys that were created for them."""
    now = context.clock()
    if over := await context.database.read(store.expired, now, EXPIRED_AT_ONCE):
        await context.database.write(store.end, over, now)
        context.caches.forget_callers()


async def delete_keys(context: Context) -> None:
    """Delete keys that were revoked long ago, also those of programs. Each browser that signs in with a link gets its own."""
    revoked_before = context.clock() - REVOKED_KEY_SECONDS
    while await context.database.write(store.prune_keys, revoked_before) == store.PRUNED_AT_ONCE:
        pass


def view(record: SessionRecord) -> BrowserSession:
    """Return the answer that describes a session."""
    return BrowserSession(
        session_id=record.session_id,
        created_at=format_time(record.created_at),
        expires_at=format_time(record.expires_at),
        keys=[access.view(key.key) for key in record.keys],
    )
