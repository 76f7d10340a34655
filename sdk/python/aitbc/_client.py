"""The two clients, blocking and asyncio. Their calls are in `_resources`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Self

import httpx

from aitbc._calls import keys
from aitbc._http import stream
from aitbc._http.drivers import AsyncDriver, Driver
from aitbc._http.flow import Flow, Session, query
from aitbc._http.local import Address, find_address, sealing_file
from aitbc._http.sealing import SealingState
from aitbc._resources import (
    AdminCalls,
    ArtifactCalls,
    AuditCalls,
    CallGroup,
    DriverT,
    JobCalls,
    KeyCalls,
    LogCalls,
    MarketplaceCalls,
    MinerCalls,
    PayoutCalls,
    ReceiptCalls,
    RegistryCalls,
    ServiceCalls,
    WalletCalls,
    WebhookCalls,
    iterating_method,
    method,
)
from aitbc.answers.health import Health

DEFAULT_TIMEOUT = 30.0
"""Seconds. The timeout applies to each step (connecting, sending or receiving a piece), not to the whole request."""
DEFAULT_RETRIES = 4
"""Retries of one request. With their pauses, they bridge a restart of the coordinator of a few seconds."""


def _health(session: Session, /) -> Flow[Health]:
    """Return the coordinator's health."""
    return query(session, "/v1/health", Health)


class _Client(CallGroup[DriverT]):
    """The calls of both clients."""

    base_url: str
    events = iterating_method(stream.listen)
    health = method(_health)
    login = method(keys.login)

    def __init__(self, session: Session, driver: DriverT) -> None:
        super().__init__(session, driver)
        self.jobs = JobCalls(session, driver)
        self.services = ServiceCalls(session, driver)
        self.artifacts = ArtifactCalls(session, driver)
        self.receipts = ReceiptCalls(session, driver)
        self.registry = RegistryCalls(session, driver)
        self.log = LogCalls(session, driver)
        self.marketplace = MarketplaceCalls(session, driver)
        self.wallet = WalletCalls(session, driver)
        self.webhooks = WebhookCalls(session, driver)
        self.miners = MinerCalls(session, driver)
        self.keys = KeyCalls(session, driver)
        self.admin = AdminCalls(session, driver)
        self.payouts = PayoutCalls(session, driver)
        self.audits = AuditCalls(session, driver)


class AITBCClient(_Client[Driver]):
    """A blocking client of one coordinator. Use it as a context manager, or call `close`.

    `base_url` and `api_key` default to `AITBC_BASE_URL` and `AITBC_API_KEY`, else to the agent on this machine. `timeout` is the
    number of seconds that the coordinator may send nothing, and `retries` the maximum number of retries of a request that is safe to
    repeat. `transport` replaces the network in tests. Raises `ConfigurationError` if no coordinator is configured or its URL is
    malformed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        # Found once: a client must not change its coordinator when the environment changes.
        address = find_address(base_url, api_key)
        self.base_url = address.base_url
        self._http = httpx.Client(transport=transport, **_options(address, timeout))
        super().__init__(_session(retries), Driver(self._http))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncAITBCClient(_Client[AsyncDriver]):
    """An asyncio client with the calls of `AITBCClient`. Use it with `async with`, or await `aclose`."""

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address = find_address(base_url, api_key)
        self.base_url = address.base_url
        self._http = httpx.AsyncClient(transport=transport, **_options(address, timeout))
        super().__init__(_session(retries), AsyncDriver(self._http))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def _session(retries: int) -> Session:
    return Session(retries, SealingState(sealing_file()))


def _options(address: Address, timeout: float) -> dict[str, Any]:
    # The version helps an operator to see which clients an incompatible change would concern.
    headers = {"User-Agent": f"aitbc-python/{version('aitbc')}"}
    if address.api_key:
        headers["Authorization"] = f"Bearer {address.api_key}"
    return {
        "base_url": address.base_url,
        "headers": headers,
        "timeout": timeout,
        # A proxy from the environment cannot reach the agent on this machine. Its certificate authorities hold for all.
        "trust_env": not address.is_loopback,
        "verify": httpx.create_ssl_context(),
    }
