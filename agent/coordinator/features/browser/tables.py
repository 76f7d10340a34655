"""Login links, and the sessions of browsers. Of tokens and cookies, the SHA-256 is stored."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, String, Table

from agent.coordinator.store.schema.tables._metadata import metadata

# One-time links that log in to the dashboard. They grant a client's key of the account, an owner's of the miner, or an administrator's.
logins = Table(
    "logins",
    metadata,
    Column("login_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=True),
    Column("miner_id", ForeignKey("miners.miner_id"), nullable=True),
    Column("admin", Boolean, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)

# Sessions of signed-in browsers: the SHA-256 of the cookie, and the keys that the session uses. An `own` key was created for the
# session and ends with it; any other key was entered by the user.
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)

browser_session_keys = Table(
    "browser_session_keys",
    metadata,
    Column("session_id", ForeignKey("browser_sessions.session_id"), primary_key=True),
    Column("key_id", ForeignKey("api_keys.key_id"), primary_key=True),
    Column("own", Boolean, nullable=False),
    Index("ix_browser_session_keys_key_id", "key_id"),
)
