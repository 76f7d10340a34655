"""Callers: clients, miners' owners and administrators with a key, miners with a session token, and whom features identify otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from agent.core.errors import Conflict
from aitbc.answers.accounts import Role

if TYPE_CHECKING:  # callers are known to every use case, and none of these reads keys
    from agent.coordinator.store.access import KeyRecord
    from agent.coordinator.store.database import Connection

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

    def account_of(self, belongings: str) -> str:
        """Return the account that owns the caller's `belongings`, such as "Jobs". Raises `Conflict` if there is none."""
        if self.account_id is None:
            raise Conflict(f"{belongings} belong to an account; use a client's key.")
        return self.account_id


class OtherCredential(Protocol):
    """What a feature has read in a request without a key: it stands for a key that the request does not contain. It is hashable."""

    @property
    def fingerprint(self) -> str:
        """A name for it from which it cannot be derived."""

    @property
    def refusal(self) -> str:
        """The message to a caller for whom there is no key."""

    def check(self, scope: MutableMapping[str, Any]) -> None:
        """Raise `Forbidden` for a request that may not use it."""

    def key(self, connection: Connection, now: float) -> KeyRecord | None:
        """Return the key for which it stands, or None if it is no longer valid."""


Credential: TypeAlias = str | OtherCredential
"""An API key or session token, or what a feature accepts instead."""
ReadCredential: TypeAlias = Callable[[MutableMapping[str, Any]], OtherCredential | None]
"""Finds a feature's credential in the ASGI scope of a request."""


@dataclass(frozen=True, slots=True)
class Session:
    """A miner with a valid session token. `runners` are the names and versions that it has registered, by service."""

    miner_id: str
    number: int
    public_key: bytes
    capabilities: Mapping[str, Any]
    runners: Mapping[str, list[list[str]]]
