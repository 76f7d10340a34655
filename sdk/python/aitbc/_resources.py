"""The groups of calls, blocking and awaited. Every call is written once, as a flow; here it becomes a method of either kind."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, TypeVar

from aitbc import (
    _admin,
    _artifacts,
    _events,
    _jobs,
    _keys,
    _log,
    _marketplace,
    _miners,
    _receipts,
    _registry,
    _services,
    _wallet,
)
from aitbc._drivers import AsyncDriver, Driver
from aitbc._flow import Flow, Session, Stream
from aitbc._text import AsyncTextStream, TextStream, write
from aitbc.models import ServiceJob

P = ParamSpec("P")
T = TypeVar("T")


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
    upload = _blocking(_jobs.upload)
    get = _blocking(_jobs.get)
    list = _blocking(_jobs.list_jobs)
    cancel = _blocking(_jobs.cancel)
    get_results = _blocking(_jobs.get_results)
    wait = _blocking(_jobs.wait)
    events = _iterated(_events.follow)


class AsyncJobs(_AsyncResource):
    """Jobs: create, watch, cancel, fetch results."""

    create = _awaited(_jobs.create)
    upload = _awaited(_jobs.upload)
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
    run = _blocking(_services.run)


class AsyncServices(_AsyncResource):
    """Services: each call creates a job of its kind."""

    call = _awaited(_services.call_service)
    transcribe = _awaited(_services.transcribe)
    transcode = _awaited(_services.transcode)
    generate = _awaited(_services.generate)
    infer = _awaited(_services.infer)
    stream = _async_written(_services.stream)
    render = _awaited(_services.render)
    run = _awaited(_services.run)


class Artifacts(_Resource):
    """Files: upload, download, read, link, delete."""

    upload = _blocking(_artifacts.upload)
    download = _blocking(_artifacts.download)
    get = _blocking(_artifacts.get)
    link = _blocking(_artifacts.link)
    delete = _blocking(_artifacts.delete)


class AsyncArtifacts(_AsyncResource):
    """Files: upload, download, read, link, delete."""

    upload = _awaited(_artifacts.upload)
    download = _awaited(_artifacts.download)
    get = _awaited(_artifacts.get)
    link = _awaited(_artifacts.link)
    delete = _awaited(_artifacts.delete)


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
    """Miners: what each does and has done, and what their owners want of them."""

    stats = _blocking(_miners.stats)
    list = _blocking(_miners.list_miners)
    get = _blocking(_miners.get)
    earnings = _blocking(_miners.earnings)
    pause = _blocking(_miners.pause)
    resume = _blocking(_miners.resume)
    fetch_model = _blocking(_miners.fetch_model)
    remove_model = _blocking(_miners.remove_model)


class AsyncMiners(_AsyncResource):
    """Miners: what each does and has done, and what their owners want of them."""

    stats = _awaited(_miners.stats)
    list = _awaited(_miners.list_miners)
    get = _awaited(_miners.get)
    earnings = _awaited(_miners.earnings)
    pause = _awaited(_miners.pause)
    resume = _awaited(_miners.resume)
    fetch_model = _awaited(_miners.fetch_model)
    remove_model = _awaited(_miners.remove_model)


class Keys(_Resource):
    """Keys: the client's own, and further ones of its account."""

    me = _blocking(_keys.me)
    revoke_self = _blocking(_keys.revoke_self)
    list = _blocking(_keys.list_keys)
    create = _blocking(_keys.create)
    revoke = _blocking(_keys.revoke)


class AsyncKeys(_AsyncResource):
    """Keys: the client's own, and further ones of its account."""

    me = _awaited(_keys.me)
    revoke_self = _awaited(_keys.revoke_self)
    list = _awaited(_keys.list_keys)
    create = _awaited(_keys.create)
    revoke = _awaited(_keys.revoke)


class Admin(_Resource):
    """What administrators do: accounts, keys, tokens, and the state of everything."""

    accounts = _blocking(_admin.accounts)
    create_account = _blocking(_admin.create_account)
    credit = _blocking(_admin.credit)
    keys = _blocking(_admin.keys)
    create_key = _blocking(_admin.create_key)
    revoke_key = _blocking(_admin.revoke_key)
    create_enrolment = _blocking(_admin.create_enrolment)
    create_login = _blocking(_admin.create_login)
    exclude_miner = _blocking(_admin.exclude_miner)
    include_miner = _blocking(_admin.include_miner)
    overview = _blocking(_admin.overview)


class AsyncAdmin(_AsyncResource):
    """What administrators do: accounts, keys, tokens, and the state of everything."""

    accounts = _awaited(_admin.accounts)
    create_account = _awaited(_admin.create_account)
    credit = _awaited(_admin.credit)
    keys = _awaited(_admin.keys)
    create_key = _awaited(_admin.create_key)
    revoke_key = _awaited(_admin.revoke_key)
    create_enrolment = _awaited(_admin.create_enrolment)
    create_login = _awaited(_admin.create_login)
    exclude_miner = _awaited(_admin.exclude_miner)
    include_miner = _awaited(_admin.include_miner)
    overview = _awaited(_admin.overview)
