"""The miner's membership in its coordinator's network, as of the latest registration."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from agent.miner.identity import ApiKeyStore, Identity
from agent.protocol.answers import Registered


class Session:
    """Everything but `identity` is empty before `begin`. `origin` names the coordinator's log, `log_key` verifies it.

    `engine_versions` states that the coordinator accepts statements with the version of any engine, and `fee` is the operator's share of
    a price (0 to 1).
    """

    def __init__(self, identity: Identity, directory: Path) -> None:
        self.identity = identity
        self.number: int | None = None
        self.origin = ""
        self.log_key = ""
        self.api_key: str | None = None
        self.engine_versions = False
        self.fee = Decimal(0)
        self._api_keys = ApiKeyStore(directory)

    def begin(self, registered: Registered) -> None:
        """Adopt a new session, and save the API key, which the coordinator sends only once."""
        if registered.api_key is not None:
            self._api_keys.put(registered.origin, registered.api_key)
        self.number = registered.session
        self.origin = registered.origin
        self.log_key = registered.log_key
        self.engine_versions = registered.engine_versions
        self.fee = registered.fee_percent / 100
        self.api_key = registered.api_key or self._api_keys.get(registered.origin)
