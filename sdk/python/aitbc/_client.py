"""The two clients, blocking and asyncio. Their calls are in `_resources`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Generator
from importlib.metadata import version
from typing import Any, Self

import httpx

from aitbc._calls import keys
from aitbc._http import stream
from aitbc._http.drivers import AsyncDriver, Driver
from aitbc._http.flow import Flow, Request, Session, fetch
from aitbc._http.local import Address, find_address, sealing_file
from aitbc._http.sealing import SealingState
from aitbc._resources import (
    AdminCalls,
    ArtifactCalls,
    AsyncAdminCalls,
    AsyncArtifactCalls,
    AsyncAuditCalls,
    AsyncJobCalls,
    AsyncKeyCalls,
    AsyncLogCalls,
    AsyncMarketplaceCalls,
    AsyncMinerCalls,
    AsyncPayoutCalls,
    AsyncReceiptCalls,
    AsyncRegistryCalls,
    AsyncServiceCalls,
    AsyncWalletCalls,
    AuditCalls,
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
)
from aitbc.answers.accounts import LoginKey
from aitbc.answers.health import Health
from aitbc.answers.jobs import StreamEvent

DEFAULT_TIMEOUT = 30.0
"""Seconds. The timeout applies to each step (connecting, sending or receiving a piece), not to the whole request."""
DEFAULT_RETRIES = 4
"""Retries of one request. With their pauses, they bridge a restart of the coordinator of a few seconds."""


class AITBCClient:
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
        address, session = find_address(base_url, api_key), _session(retries)
        self.base_url = address.base_url
        self._http = httpx.Client(transport=transport, **_options(address, timeout))
        driver = Driver(self._http)
        self._session, self._driver = session, driver
        self.jobs = JobCalls(session, driver)
        self.services = ServiceCalls(session, driver)
        self.artifacts = ArtifactCalls(session, driver)
        self.receipts = ReceiptCalls(session, driver)
        self.registry = RegistryCalls(session, driver)
        self.log = LogCalls(session, driver)
        self.marketplace = MarketplaceCalls(session, driver)
        self.wallet = WalletCalls(session, driver)
        self.miners = MinerCalls(session, driver)
        self.keys = KeyCalls(session, driver)
        self.admin = AdminCalls(session, driver)
        self.payouts = PayoutCalls(session, driver)
        self.audits = AuditCalls(session, driver)

    def events(
        self,
        *,
        types: Collection[str] | None = None,
        job_ids: Collection[str] | None = None,
        after: int | None = None,
        timeout: float | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Yield every event that this key may see, each once and in order, until the caller stops.

        `types` selects types of events (by default `job_update`, `marketplace_update`, `receipt_created` and `payout_update`; there are also
        `job_progress` and `job_event`), `job_ids` selects jobs, and `after` is the `seq` of the last known event (by default the stream
        starts now). The stream resumes after a broken connection; an event `resync` marks a gap. `timeout` is in seconds.

        Raises `TimeoutError` after `timeout`, `APIError`, and `TransportError` if the connection cannot be restored.
        """
        return self._driver.iterate(
            stream.listen(self._session, types=types, job_ids=job_ids, after=after, timeout=timeout)
        )

    def health(self) -> Health:
        """Return the coordinator's health."""
        return self._driver.run(_health(self._session))

    def login(self, token: str) -> list[LoginKey]:
        """Exchange a one-time token, as `aitbc-agent login` prints it, for keys. Needs no key."""
        return self._driver.run(keys.login(self._session, token))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncAITBCClient:
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
        address, session = find_address(base_url, api_key), _session(retries)
        self.base_url = address.base_url
        self._http = httpx.AsyncClient(transport=transport, **_options(address, timeout))
        driver = AsyncDriver(self._http)
        self._session, self._driver = session, driver
        self.jobs = AsyncJobCalls(session, driver)
        self.services = AsyncServiceCalls(session, driver)
        self.artifacts = AsyncArtifactCalls(session, driver)
        self.receipts = AsyncReceiptCalls(session, driver)
        self.registry = AsyncRegistryCalls(session, driver)
        self.log = AsyncLogCalls(session, driver)
        self.marketplace = AsyncMarketplaceCalls(session, driver)
        self.wallet = AsyncWalletCalls(session, driver)
        self.miners = AsyncMinerCalls(session, driver)
        self.keys = AsyncKeyCalls(session, driver)
        self.admin = AsyncAdminCalls(session, driver)
        self.payouts = AsyncPayoutCalls(session, driver)
        self.audits = AsyncAuditCalls(session, driver)

    def events(
        self,
        *,
        types: Collection[str] | None = None,
        job_ids: Collection[str] | None = None,
        after: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield every event that this key may see, each once and in order, until the caller stops.

        `types` selects types of events (by default `job_update`, `marketplace_update`, `receipt_created` and `payout_update`; there are also
        `job_progress` and `job_event`), `job_ids` selects jobs, and `after` is the `seq` of the last known event (by default the stream
        starts now). The stream resumes after a broken connection; an event `resync` marks a gap. `timeout` is in seconds.

        Raises `TimeoutError` after `timeout`, `APIError`, and `TransportError` if the connection cannot be restored.
        """
        return self._driver.iterate(
            stream.listen(self._session, types=types, job_ids=job_ids, after=after, timeout=timeout)
        )

    async def health(self) -> Health:
        """Return the coordinator's health."""
        return await self._driver.run(_health(self._session))

    async def login(self, token: str) -> list[LoginKey]:
        """Exchange a one-time token, as `aitbc-agent login` prints it, for keys. Needs no key."""
        return await self._driver.run(keys.login(self._session, token))

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


def _health(session: Session) -> Flow[Health]:
    return (yield from fetch(session, Request("GET", "/v1/health"), Health))
