"""Callers: clients, miners' owners and administrators with a key, browsers with a session, and miners with a session token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aitbc.answers.accounts import Role

SESSION_PREFIX: Final = "session."
"""Miners' session tokens begin with it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. A client has an account, a miner's owner has a miner."""

    role: Role
    account_id: str | None = None
    miner_id: str | None = None
    name: str = ""
    key_id: str = ""

    @property
    def owner(self) -> str:
        """The account, miner or administrator's key whose connections and streams count together."""
        return self.account_id or self.miner_id or self.key_id


@dataclass(frozen=True, slots=True)
class BrowserCredential:
    """The secret of a browser's cookie, and the role in which the request acts."""

    secret: str
    role: Role


Credential = str | BrowserCredential
"""An API key or session token, or a browser's session."""


@dataclass(frozen=True, slots=True)
class Session:
    """A miner with a valid session token. `runners` are the names and versions that it has registered, by service."""

    miner_id: str
    number: int
    public_key: bytes
    capabilities: Mapping[str, Any]
    runners: Mapping[str, list[list[str]]]
