"""The groups of calls, blocking and asyncio. Every call is written once, as a flow, and becomes a method of each kind here."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, TypeVar

from aitbc._calls import (
    admin,
    artifacts,
    audits,
    jobs,
    keys,
    log,
    marketplace,
    miners,
    opening,
    payouts,
    receipts,
    registry,
    sealing,
    services,
    wallet,
)
from aitbc._calls.text import AsyncTextStream, TextStream, write
from aitbc._http.drivers import AsyncDriver, Driver
from aitbc._http.flow import Flow, Session, Stream
from aitbc.answers.jobs import Job, ServiceJob

P = ParamSpec("P")
T = TypeVar("T")


class _Resource:
    """A group of blocking calls."""

    def __init__(self, session: Session, driver: Driver) -> None:
        self._session = session
        self._driver = driver


class _AsyncResource:
    """A group of asyncio calls."""

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


def _streamed(
    flow: Callable[Concatenate[Session, P], Flow[ServiceJob]],
) -> Callable[Concatenate[_Resource, P], TextStream]:
    @functools.wraps(flow)
    def method(self: _Resource, /, *args: P.args, **kwargs: P.kwargs) -> TextStream:
        job = self._driver.run(flow(self._session, *args, **kwargs))
        return TextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    return method


def _async_streamed(
    flow: Callable[Concatenate[Session, P], Flow[ServiceJob]],
) -> Callable[Concatenate[_AsyncResource, P], Coroutine[Any, Any, AsyncTextStream]]:
    @functools.wraps(flow)
    async def method(self: _AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTextStream:
        job = await self._driver.run(flow(self._session, *args, **kwargs))
        return AsyncTextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    return method


class JobCalls(_Resource):
    """Create, follow, repeat, cancel and delete jobs, and fetch their results and logs."""

    create = _blocking(jobs.create)
    upload = _blocking(jobs.upload)
    get = _blocking(jobs.get)
    explain = _blocking(jobs.explain)
    list = _blocking(jobs.list_jobs)
    labels = _blocking(jobs.list_labels)
    cancel = _blocking(jobs.cancel)
    rerun = _blocking(jobs.rerun)
    log = _blocking(jobs.log)
    delete_data = _blocking(jobs.delete_data)
    get_results = _blocking(jobs.get_results)
    wait = _blocking(jobs.wait)
    seal = _blocking(sealing.seal)
    sealed_request = _blocking(opening.sealed_request)
    events = _iterated(opening.follow)


class AsyncJobCalls(_AsyncResource):
    """Create, follow, repeat, cancel and delete jobs, and fetch their results and logs."""

    create = _awaited(jobs.create)
    upload = _awaited(jobs.upload)
    get = _awaited(jobs.get)
    explain = _awaited(jobs.explain)
    list = _awaited(jobs.list_jobs)
    labels = _awaited(jobs.list_labels)
    cancel = _awaited(jobs.cancel)
    rerun = _awaited(jobs.rerun)
    log = _awaited(jobs.log)
    delete_data = _awaited(jobs.delete_data)
    get_results = _awaited(jobs.get_results)
    wait = _awaited(jobs.wait)
    seal = _awaited(sealing.seal)
    sealed_request = _awaited(opening.sealed_request)
    events = _async_iterated(opening.follow)


class ServiceCalls(_Resource):
    """Call services. Each call creates a job of its type."""

    call = _blocking(services.call_service)
    transcribe = _blocking(services.transcribe)
    transcode = _blocking(services.transcode)
    generate = _blocking(services.generate)
    infer = _blocking(services.infer)
    stream = _streamed(services.stream)

    embed = _blocking(services.embed)
    render = _blocking(services.render)
    run = _blocking(services.run)

    def text_of(self, job: Job) -> TextStream:
        """Return the text of a language model's job that exists already, as `stream` does for a new one."""
        # A stream shows the job of a service call, which may carry results; a `Job` has all its fields except these.
        created = ServiceJob.read(job.to_dict())
        return TextStream(created, self._driver.iterate(write(self._session, job.job_id)))


class AsyncServiceCalls(_AsyncResource):
    """Call services. Each call creates a job of its type."""

    call = _awaited(services.call_service)
    transcribe = _awaited(services.transcribe)
    transcode = _awaited(services.transcode)
    generate = _awaited(services.generate)
    infer = _awaited(services.infer)
    stream = _async_streamed(services.stream)
    embed = _awaited(services.embed)
    render = _awaited(services.render)
    run = _awaited(services.run)

    def text_of(self, job: Job) -> AsyncTextStream:
        """Return the text of a language model's job that exists already, as `stream` does for a new one."""
        created = ServiceJob.read(job.to_dict())
        return AsyncTextStream(created, self._driver.iterate(write(self._session, job.job_id)))


class ArtifactCalls(_Resource):
    """Upload, download, read, link and delete files."""

    upload = _blocking(artifacts.upload)
    download = _blocking(artifacts.download)
    get = _blocking(artifacts.get)
    link = _blocking(artifacts.link)
    delete = _blocking(artifacts.delete)


class AsyncArtifactCalls(_AsyncResource):
    """Upload, download, read, link and delete files."""

    upload = _awaited(artifacts.upload)
    download = _awaited(artifacts.download)
    get = _awaited(artifacts.get)
    link = _awaited(artifacts.link)
    delete = _awaited(artifacts.delete)


class ReceiptCalls(_Resource):
    """Fetch and export receipts, or have the coordinator verify them."""

    get = _blocking(receipts.get)
    verify = _blocking(receipts.verify)
    export = _blocking(receipts.export)


class AsyncReceiptCalls(_AsyncResource):
    """Fetch and export receipts, or have the coordinator verify them."""

    get = _awaited(receipts.get)
    verify = _awaited(receipts.verify)
    export = _awaited(receipts.export)


class RegistryCalls(_Resource):
    """The registry of services, with their inputs and hardware requirements."""

    services = _blocking(registry.services)
    get = _blocking(registry.get)
    schema = _blocking(registry.schema)
    requirements = _blocking(registry.requirements)
    validate = _blocking(registry.validate)


class AsyncRegistryCalls(_AsyncResource):
    """The registry of services, with their inputs and hardware requirements."""

    services = _awaited(registry.services)
    get = _awaited(registry.get)
    schema = _awaited(registry.schema)
    requirements = _awaited(registry.requirements)
    validate = _awaited(registry.validate)


class LogCalls(_Resource):
    """The coordinator's log: checkpoint, proofs and tiles. `aitbc.monitor` verifies them."""

    checkpoint = _blocking(log.checkpoint)
    proof = _blocking(log.proof)
    tile = _blocking(log.tile)


class AsyncLogCalls(_AsyncResource):
    """The coordinator's log: checkpoint, proofs and tiles. `aitbc.monitor` verifies them."""

    checkpoint = _awaited(log.checkpoint)
    proof = _awaited(log.proof)
    tile = _awaited(log.tile)


class MarketplaceCalls(_Resource):
    """The marketplace: miners' offers, jobs assigned to them, and statistics."""

    create_offer = _blocking(marketplace.create_offer)
    offers = _blocking(marketplace.offers)
    accept = _blocking(marketplace.accept)
    withdraw = _blocking(marketplace.withdraw)
    services = _blocking(marketplace.services)
    miners = _blocking(marketplace.miners)
    stats = _blocking(marketplace.stats)


class AsyncMarketplaceCalls(_AsyncResource):
    """The marketplace: miners' offers, jobs assigned to them, and statistics."""

    create_offer = _awaited(marketplace.create_offer)
    offers = _awaited(marketplace.offers)
    accept = _awaited(marketplace.accept)
    withdraw = _awaited(marketplace.withdraw)
    services = _awaited(marketplace.services)
    miners = _awaited(marketplace.miners)
    stats = _awaited(marketplace.stats)


class WalletCalls(_Resource):
    """The wallet's balance and transactions."""

    get = _blocking(wallet.get)
    transactions = _blocking(wallet.transactions)


class AsyncWalletCalls(_AsyncResource):
    """The wallet's balance and transactions."""

    get = _awaited(wallet.get)
    transactions = _awaited(wallet.transactions)


class MinerCalls(_Resource):
    """Miners: their statistics and state, and the commands of their owners."""

    stats = _blocking(miners.stats)
    list = _blocking(miners.list_miners)
    fleet = _blocking(miners.fleet)
    get = _blocking(miners.get)
    explain = _blocking(miners.explain)
    earnings = _blocking(miners.earnings)
    pause = _blocking(miners.pause)
    resume = _blocking(miners.resume)
    settings = _blocking(miners.settings)
    change_settings = _blocking(miners.change_settings)
    fetch_model = _blocking(miners.fetch_model)
    remove_model = _blocking(miners.remove_model)
    encryption_key = _blocking(sealing.encryption_key)
    is_attested = _blocking(sealing.is_attested)


class AsyncMinerCalls(_AsyncResource):
    """Miners: their statistics and state, and the commands of their owners."""

    stats = _awaited(miners.stats)
    list = _awaited(miners.list_miners)
    fleet = _awaited(miners.fleet)
    get = _awaited(miners.get)
    explain = _awaited(miners.explain)
    earnings = _awaited(miners.earnings)
    pause = _awaited(miners.pause)
    resume = _awaited(miners.resume)
    settings = _awaited(miners.settings)
    change_settings = _awaited(miners.change_settings)
    fetch_model = _awaited(miners.fetch_model)
    remove_model = _awaited(miners.remove_model)
    encryption_key = _awaited(sealing.encryption_key)
    is_attested = _awaited(sealing.is_attested)


class KeyCalls(_Resource):
    """The client's own API key, and the other keys of its account."""

    me = _blocking(keys.me)
    revoke_self = _blocking(keys.revoke_self)
    list = _blocking(keys.list_keys)
    create = _blocking(keys.create)
    revoke = _blocking(keys.revoke)


class AsyncKeyCalls(_AsyncResource):
    """The client's own API key, and the other keys of its account."""

    me = _awaited(keys.me)
    revoke_self = _awaited(keys.revoke_self)
    list = _awaited(keys.list_keys)
    create = _awaited(keys.create)
    revoke = _awaited(keys.revoke)


class AdminCalls(_Resource):
    """Administration: accounts, keys, tokens, and an overview."""

    accounts = _blocking(admin.accounts)
    create_account = _blocking(admin.create_account)
    credit = _blocking(admin.credit)
    debit = _blocking(admin.debit)
    keys = _blocking(admin.keys)
    create_key = _blocking(admin.create_key)
    revoke_key = _blocking(admin.revoke_key)
    enrolments = _blocking(admin.enrolments)
    create_enrolment = _blocking(admin.create_enrolment)
    revoke_enrolment = _blocking(admin.revoke_enrolment)
    create_login = _blocking(admin.create_login)
    exclude_miner = _blocking(admin.exclude_miner)
    include_miner = _blocking(admin.include_miner)
    remove_miner = _blocking(admin.remove_miner)
    history = _blocking(admin.history)
    overview = _blocking(admin.overview)


class AsyncAdminCalls(_AsyncResource):
    """Administration: accounts, keys, tokens, and an overview."""

    accounts = _awaited(admin.accounts)
    create_account = _awaited(admin.create_account)
    credit = _awaited(admin.credit)
    debit = _awaited(admin.debit)
    keys = _awaited(admin.keys)
    create_key = _awaited(admin.create_key)
    revoke_key = _awaited(admin.revoke_key)
    enrolments = _awaited(admin.enrolments)
    create_enrolment = _awaited(admin.create_enrolment)
    revoke_enrolment = _awaited(admin.revoke_enrolment)
    create_login = _awaited(admin.create_login)
    exclude_miner = _awaited(admin.exclude_miner)
    include_miner = _awaited(admin.include_miner)
    remove_miner = _awaited(admin.remove_miner)
    history = _awaited(admin.history)
    overview = _awaited(admin.overview)


class PayoutCalls(_Resource):
    """Payouts: batches for administrators; payments, addresses and proofs for miners' owners."""

    batches = _blocking(payouts.batches)
    batch = _blocking(payouts.batch)
    preview = _blocking(payouts.preview)
    create = _blocking(payouts.create)
    approve = _blocking(payouts.approve)
    cancel = _blocking(payouts.cancel)
    report = _blocking(payouts.report)
    hand_in = _blocking(payouts.hand_in)
    deposits = _blocking(payouts.deposits)
    of_miner = _blocking(payouts.of_miner)
    address = _blocking(payouts.address)
    set_address = _blocking(payouts.set_address)
    proof = _blocking(payouts.proof)


class AsyncPayoutCalls(_AsyncResource):
    """Payouts: batches for administrators; payments, addresses and proofs for miners' owners."""

    batches = _awaited(payouts.batches)
    batch = _awaited(payouts.batch)
    preview = _awaited(payouts.preview)
    create = _awaited(payouts.create)
    approve = _awaited(payouts.approve)
    cancel = _awaited(payouts.cancel)
    report = _awaited(payouts.report)
    hand_in = _awaited(payouts.hand_in)
    deposits = _awaited(payouts.deposits)
    of_miner = _awaited(payouts.of_miner)
    address = _awaited(payouts.address)
    set_address = _awaited(payouts.set_address)
    proof = _awaited(payouts.proof)


class AuditCalls(_Resource):
    """Audits of results by other miners, and canaries, the jobs with known answers."""

    list = _blocking(audits.list_audits)
    get = _blocking(audits.get)
    of_job = _blocking(audits.of_job)
    of_miner = _blocking(audits.of_miner)
    ask_for_second_opinion = _blocking(audits.ask_for_second_opinion)
    create_canary = _blocking(audits.create_canary)
    canaries = _blocking(audits.canaries)
    delete_canary = _blocking(audits.delete_canary)


class AsyncAuditCalls(_AsyncResource):
    """Audits of results by other miners, and canaries, the jobs with known answers."""

    list = _awaited(audits.list_audits)
    get = _awaited(audits.get)
    of_job = _awaited(audits.of_job)
    of_miner = _awaited(audits.of_miner)
    ask_for_second_opinion = _awaited(audits.ask_for_second_opinion)
    create_canary = _awaited(audits.create_canary)
    canaries = _awaited(audits.canaries)
    delete_canary = _awaited(audits.delete_canary)
