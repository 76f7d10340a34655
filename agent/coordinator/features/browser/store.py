"""Login links, sessions of signed-in browsers, and the keys that both have created. Only the SHA-256 of a token or a cookie is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update

from agent.coordinator.features.browser.tables import browser_session_keys, browser_sessions, logins
from agent.coordinator.store import records
from agent.coordinator.store.access import KEY_COLUMNS, KeyRecord
from agent.coordinator.store.schema.tables import api_keys

PRUNED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class LoginRecord:
    """What a login link grants: a client's key of the account, an owner's key of the miner, or an administrator's key."""

    account_id: str | None
    miner_id: str | None
    admin: bool


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A key that a session uses. An `own` key was created for it."""

    key: KeyRecord
    own: bool


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A browser's session and its valid keys. Times are seconds since the epoch."""

    session_id: str
    created_at: float
    expires_at: float
    keys: tuple[SessionKey, ...]


def add(connection: Connection, record: SessionRecord, sha256: str) -> None:
    """Store a new session."""
    values = {
        "session_id": record.session_id, "sha256": sha256, "created_at": record.created_at,
        "expires_at": record.expires_at,
    }  # fmt: skip
    connection.execute(insert(browser_sessions), values)
    keys = [
        {"session_id": record.session_id, "key_id": session_key.key.key_id, "own": session_key.own}
        for session_key in record.keys
    ]
    connection.execute(insert(browser_session_keys), keys)


def key_of(connection: Connection, sha256: str, role: str, now: float) -> KeyRecord | None:
    """Return the key that a session uses for a role, or None if the session or the key is no longer valid."""
    query = (
        select(*KEY_COLUMNS)
        .join(browser_session_keys, browser_session_keys.c.key_id == api_keys.c.key_id)
        .join(browser_sessions, browser_sessions.c.session_id == browser_session_keys.c.session_id)
        .where(browser_sessions.c.sha256 == sha256, browser_sessions.c.expires_at > now)
        .where(api_keys.c.role == role, api_keys.c.revoked_at.is_(None))
        .limit(1)
    )
    return records.find(connection, KeyRecord, query)


def find(connection: Connection, sha256: str, now: float) -> SessionRecord | None:
    """Return the session with this cookie, or None if it has expired or has no valid key."""
    sessions = _sessions(connection, browser_sessions.c.sha256 == sha256, browser_sessions.c.expires_at > now)
    return sessions[0] if sessions else None


def of_owner(
    connection: Connection, now: float, *, account_id: str | None = None, miner_id: str | None = None
) -> list[SessionRecord]:
    """Return the sessions with a key of the account or of the miner (or all, without either), oldest first."""
    conditions = [browser_sessions.c.expires_at > now]
    if account_id is not None or miner_id is not None:
        of_keys = (
            select(browser_session_keys.c.session_id)
            .join(api_keys, api_keys.c.key_id == browser_session_keys.c.key_id)
            .where(
                api_keys.c.account_id == account_id
                if account_id is not None
                else api_keys.c.miner_id == miner_id
            )
        )
        conditions.append(browser_sessions.c.session_id.in_(of_keys))
    return _sessions(connection, *conditions)


def _sessions(connection: Connection, *conditions: ColumnElement[bool]) -> list[SessionRecord]:
    query = (
        select(
            browser_sessions.c.session_id, browser_sessions.c.created_at, browser_sessions.c.expires_at,
            browser_session_keys.c.own, *KEY_COLUMNS,
        )
        .join(browser_session_keys, browser_session_keys.c.session_id == browser_sessions.c.session_id)
        .join(api_keys, api_keys.c.key_id == browser_session_keys.c.key_id)
        .where(*conditions, api_keys.c.revoked_at.is_(None))
        .order_by(browser_sessions.c.session_id, api_keys.c.key_id)
    )  # fmt: skip
    sessions: dict[str, SessionRecord] = {}
    for session_id, created_at, expires_at, is_own, *key in connection.execute(query):
        earlier_keys = sessions[session_id].keys if session_id in sessions else ()
        keys = (*earlier_keys, SessionKey(KeyRecord(*key), is_own))
        sessions[session_id] = SessionRecord(session_id, created_at, expires_at, keys)
    return list(sessions.values())


def expired(connection: Connection, now: float, limit: int) -> list[str]:
    """Return the ids of expired sessions."""
    query = select(browser_sessions.c.session_id).where(browser_sessions.c.expires_at <= now)
    return list(connection.execute(query.order_by(browser_sessions.c.expires_at).limit(limit)).scalars())


def end(
    connection: Connection, session_ids: Sequence[str], now: float, *, keeping: Iterable[str] = ()
) -> None:
    """Delete sessions, and revoke the keys that were created for them, except those in `keeping`."""
    # Keys that a user signed in with belong to that user, and may be in use elsewhere.
    own_keys = select(browser_session_keys.c.key_id).where(
        browser_session_keys.c.session_id.in_(session_ids),
        browser_session_keys.c.own,
        browser_session_keys.c.key_id.not_in(list(keeping)),
    )
    revoked = update(api_keys).where(api_keys.c.key_id.in_(own_keys), api_keys.c.revoked_at.is_(None))
    connection.execute(revoked.values(revoked_at=now))
    for table in (browser_session_keys, browser_sessions):
        connection.execute(delete(table).where(table.c.session_id.in_(session_ids)))


def prune_keys(connection: Connection, revoked_before: float) -> int:
    """Delete keys that were revoked before a time and that no session uses, at most `PRUNED_AT_ONCE`. Return how many."""
    in_use = exists().where(browser_session_keys.c.key_id == api_keys.c.key_id)
    expired = select(api_keys.c.key_id).where(api_keys.c.revoked_at < revoked_before, ~in_use)
    pruned = delete(api_keys).where(api_keys.c.key_id.in_(expired.limit(PRUNED_AT_ONCE)))
    return connection.execute(pruned).rowcount


def add_login(
    connection: Connection, login_id: str, sha256: str, record: LoginRecord, *, now: float, expires_at: float
) -> None:
    """Store a login link, and delete expired ones."""
    # Rows that another transaction is using or deleting are skipped, so that two new links never wait for each other.
    expired = select(logins.c.login_id).where(logins.c.expires_at < now).with_for_update(skip_locked=True)
    connection.execute(delete(logins).where(logins.c.login_id.in_(expired)))
    values = {
        "login_id": login_id, "sha256": sha256, "account_id": record.account_id, "miner_id": record.miner_id,
        "admin": record.admin, "expires_at": expires_at,
    }  # fmt: skip
    connection.execute(insert(logins), values)


def find_login(connection: Connection, sha256: str, now: float) -> LoginRecord | None:
    """Return what a login link grants, or None if it is unknown, used or expired."""
    query = select(logins.c.account_id, logins.c.miner_id, logins.c.admin)
    return records.find(
        connection, LoginRecord, query.where(logins.c.sha256 == sha256, logins.c.expires_at >= now)
    )


def use_login(connection: Connection, sha256: str) -> bool:
    """Use a login link. Return False if it has just been used."""
    return connection.execute(delete(logins).where(logins.c.sha256 == sha256)).rowcount == 1
