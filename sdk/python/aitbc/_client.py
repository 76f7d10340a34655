"""The two clients. Every call is written once, as a flow; here it becomes a method that blocks or one that is awaited."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator
from importlib.metadata import version
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from aitbc import (
    _artifacts,
    _events,
    _jobs,
    _log,
    _marketplace,
    _miners,
    _receipts,
    _registry,
    _services,
    _stream,
    _wallet,
)
from aitbc._drivers import AsyncDriver, Driver
from aitbc._flow import Flow, Request, Session, Stream, fetch
from aitbc._local import Address, find_address
from aitbc._text import AsyncTextStream, TextStream, write
from aitbc.models import Health, ServiceJob, StreamEvent

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0
"""Seconds that the coordinator may be silent. It bounds each step (connect, send a piece, receive one), not the whole."""
DEFAULT_RETRIES = 4
"""Repetitions of one request; with their pauses they bridge a restart of the coordinator of some seconds."""


class _Resource:
    """A group of blocking calls."""

    def __init__(self, session: Session, driver: Driver) -> None:
        self._session = session
        self._driver = driver


class _AsyncResource:
    """A group of awaited calls."""

    def __init__(self, session: Session, driver: AsyncDriver) -> None:
        self._session = session
        self._driver = driver


def _blocking(flow: Callable[Concatenate[Session, P], Flow[T]]) -> Callable[Concatenate[_Resource, P], T]:
    @functools.wraps(flow)
    def method(self: _Resource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.run(flow(self._session, *args, **kwargs))

    return method


def _awaited(
    flow: Callable[Concatenate[Session, P], Flow[T]],
) -> Callable[Concatenate[_AsyncResource, P], Coroutine[Any, Any, T]]:
    @functools.wraps(flow)
    async def method(self: _AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._driver.run(flow(self._session, *args, **kwargs))

    return method


def _iterated(
    flow: Callable[Concatenate[Session, P], Stream[T]],
) -> Callable[Concatenate[_Resource, P], Generator[T, None, None]]:
    @functools.wraps(flow)
    def method(self: _Resource, /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return self._driver.iterate(flow(self._session, *args, **kwargs))

    return method


def _async_iterated(
    flow: Callable[Concatenate[Session, P], Stream[T]],
) -> Callable[Concatenate[_AsyncResource, P], AsyncGenerator[T, None]]:
    @functools.wraps(flow)
    def method(self: _AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        return self._driver.iterate(flow(self._session, *args, **kwargs))

    return method


def _written(
    flow: Callable[Concatenate[Session, P], Flow[ServiceJob]],
) -> Callable[Concatenate[_Resource, P], TextStream]:
    @functools.wraps(flow)
    def method(self: _Resource, /, *args: P.args, **kwargs: P.kwargs) -> TextStream:
        job = self._driver.run(flow(self._session, *args, **kwargs))
        return TextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    return method


def _async_written(
    flow: Callable[Concatenate[Session, P], Flow[ServiceJob]],
) -> Callable[Concatenate[_AsyncResource, P], Coroutine[Any, Any, AsyncTextStream]]:
    @functools.wraps(flow)
    async def method(self: _AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTextStream:
        job = await self._driver.run(flow(self._session, *args, **kwargs))
        return AsyncTextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    return method


class Jobs(_Resource):
    """Jobs: create, watch, cancel, fetch results."""

    create = _blocking(_jobs.create)
    get = _blocking(_jobs.get)
    list = _blocking(_jobs.list_jobs)
    cancel = _blocking(_jobs.cancel)
    get_results = _blocking(_jobs.get_results)
    wait = _blocking(_jobs.wait)
    events = _iterated(_events.follow)


class AsyncJobs(_AsyncResource):
    """Jobs: create, watch, cancel, fetch results."""

    create = _awaited(_jobs.create)
    get = _awaited(_jobs.get)
    list = _awaited(_jobs.list_jobs)
    cancel = _awaited(_jobs.cancel)
    get_results = _awaited(_jobs.get_results)
    wait = _awaited(_jobs.wait)
    events = _async_iterated(_events.follow)


class Services(_Resource):
    """Services: each call creates a job of its kind."""

    call = _blocking(_services.call_service)
    transcribe = _blocking(_services.transcribe)
    transcode = _blocking(_services.transcode)
    generate = _blocking(_services.generate)
    infer = _blocking(_services.infer)
    stream = _written(_services.stream)
    render = _blocking(_services.render)


class AsyncServices(_AsyncResource):
    """Services: each call creates a job of its kind."""

    call = _awaited(_services.call_service)
    transcribe = _awaited(_services.transcribe)
    transcode = _awaited(_services.transcode)
    generate = _awaited(_services.generate)
    infer = _awaited(_services.infer)
    stream = _async_written(_services.stream)
    render = _awaited(_services.render)


class Artifacts(_Resource):
    """Files: upload, download, read."""

    upload = _blocking(_artifacts.upload)
    download = _blocking(_artifacts.download)
    get = _blocking(_artifacts.get)


class AsyncArtifacts(_AsyncResource):
    """Files: upload, download, read."""

    upload = _awaited(_artifacts.upload)
    download = _awaited(_artifacts.download)
    get = _awaited(_artifacts.get)


class Receipts(_Resource):
    """Receipts: fetch, export, ask the coordinator to verify."""

    get = _blocking(_receipts.get)
    verify = _blocking(_receipts.verify)
    export = _blocking(_receipts.export)


class AsyncReceipts(_AsyncResource):
    """Receipts: fetch, export, ask the coordinator to verify."""

    get = _awaited(_receipts.get)
    verify = _awaited(_receipts.verify)
    export = _awaited(_receipts.export)


class Registry(_Resource):
    """The registry: which services there are, what they take, what they need."""

    services = _blocking(_registry.services)
    get = _blocking(_registry.get)
    schema = _blocking(_registry.schema)
    requirements = _blocking(_registry.requirements)
    validate = _blocking(_registry.validate)


class AsyncRegistry(_AsyncResource):
    """The registry: which services there are, what they take, what they need."""

    services = _awaited(_registry.services)
    get = _awaited(_registry.get)
    schema = _awaited(_registry.schema)
    requirements = _awaited(_registry.requirements)
    validate = _awaited(_registry.validate)


class Log(_Resource):
    """The coordinator's log: its checkpoint, proofs, tiles. `aitbc.monitor` verifies them."""

    checkpoint = _blocking(_log.checkpoint)
    proof = _blocking(_log.proof)
    tile = _blocking(_log.tile)


class AsyncLog(_AsyncResource):
    """The coordinator's log: its checkpoint, proofs, tiles. `aitbc.monitor` verifies them."""

    checkpoint = _awaited(_log.checkpoint)
    proof = _awaited(_log.proof)
    tile = _awaited(_log.tile)


class Marketplace(_Resource):
    """The marketplace: offers of miners, jobs given to them, statistics."""

    create_offer = _blocking(_marketplace.create_offer)
    offers = _blocking(_marketplace.offers)
    accept = _blocking(_marketplace.accept)
    withdraw = _blocking(_marketplace.withdraw)
    stats = _blocking(_marketplace.stats)


class AsyncMarketplace(_AsyncResource):
    """The marketplace: offers of miners, jobs given to them, statistics."""

    create_offer = _awaited(_marketplace.create_offer)
    offers = _awaited(_marketplace.offers)
    accept = _awaited(_marketplace.accept)
    withdraw = _awaited(_marketplace.withdraw)
    stats = _awaited(_marketplace.stats)


class Wallet(_Resource):
    """The wallet: balance and transactions."""

    get = _blocking(_wallet.get)
    transactions = _blocking(_wallet.transactions)


class AsyncWallet(_AsyncResource):
    """The wallet: balance and transactions."""

    get = _awaited(_wallet.get)
    transactions = _awaited(_wallet.transactions)


class Miners(_Resource):
    """Miners: what each has done."""

    stats = _blocking(_miners.stats)


class AsyncMiners(_AsyncResource):
    """Miners: what each has done."""

    stats = _awaited(_miners.stats)


class AITBCClient:
    """A client of one coordinator; its calls block. Use it as a context manager, or call `close`.

    `base_url` and `api_key` default to `AITBC_BASE_URL` and `AITBC_API_KEY`, else to the agent that runs on this
    machine. `timeout` is the seconds that the coordinator may be silent, `retries` bounds the repetitions of a request
    that is safe to repeat. `transport` replaces the network in tests. Raises `ConfigurationError` when no coordinator is
    known or its address is malformed.
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
        address, session = find_address(base_url, api_key), Session(retries)
        self.base_url = address.base_url
        self._http = httpx.Client(transport=transport, **_options(address, timeout))
        driver = Driver(self._http)
        self._session, self._driver = session, driver
        self.jobs = Jobs(session, driver)
        self.services = Services(session, driver)
        self.artifacts = Artifacts(session, driver)
        self.receipts = Receipts(session, driver)
        self.registry = Registry(session, driver)
        self.log = Log(session, driver)
        self.marketplace = Marketplace(session, driver)
        self.wallet = Wallet(session, driver)
        self.miners = Miners(session, driver)

    def events(
        self,
        *,
        types: Collection[str] | None = None,
        job_ids: Collection[str] | None = None,
        after: int | None = None,
        timeout: float | None = None,
    ) -> Generator[StreamEvent, None, None]:
        """Everything that happens, as it happens; see `listen` for what the arguments choose."""
        return self._driver.iterate(
            _stream.listen(self._session, types=types, job_ids=job_ids, after=after, timeout=timeout)
        )

    def health(self) -> Health:
        """The coordinator's state."""
        return self._driver.run(_health(self._session))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncAITBCClient:
    """As `AITBCClient`, for asyncio: every call is awaited. Use it with `async with`, or await `aclose`."""

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address, session = find_address(base_url, api_key), Session(retries)
        self.base_url = address.base_url
        self._http = httpx.AsyncClient(transport=transport, **_options(address, timeout))
        driver = AsyncDriver(self._http)
        self._session, self._driver = session, driver
        self.jobs = AsyncJobs(session, driver)
        self.services = AsyncServices(session, driver)
        self.artifacts = AsyncArtifacts(session, driver)
        self.receipts = AsyncReceipts(session, driver)
        self.registry = AsyncRegistry(session, driver)
        self.log = AsyncLog(session, driver)
        self.marketplace = AsyncMarketplace(session, driver)
        self.wallet = AsyncWallet(session, driver)
        self.miners = AsyncMiners(session, driver)

    def events(
        self,
        *,
        types: Collection[str] | None = None,
        job_ids: Collection[str] | None = None,
        after: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Everything that happens, as it happens; see `listen` for what the arguments choose."""
        return self._driver.iterate(
            _stream.listen(self._session, types=types, job_ids=job_ids, after=after, timeout=timeout)
        )

    async def health(self) -> Health:
        """The coordinator's state."""
        return await self._driver.run(_health(self._session))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def _options(address: Address, timeout: float) -> dict[str, Any]:
    headers = {"User-Agent": f"aitbc-python/{version('aitbc')}"}
    if address.api_key:
        headers["Authorization"] = f"Bearer {address.api_key}"
    return {
        "base_url": address.base_url,
        "headers": headers,
        "timeout": timeout,
        # A proxy from the environment cannot reach this machine's own agent.
        "trust_env": not address.is_loopback,
    }


def _health(session: Session) -> Flow[Health]:
    return (yield from fetch(session, Request("GET", "/v1/health"), Health))
