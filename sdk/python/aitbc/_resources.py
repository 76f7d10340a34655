"""The groups of calls. Every call is written once, as a flow, and becomes a method here: blocking or awaited, as the client's driver is."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

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
    webhooks,
)
from aitbc._calls.text import AsyncTextStream, TextStream, write
from aitbc._http import client_spans
from aitbc._http.drivers import AsyncDriver, Driver
from aitbc._http.flow import Flow, Session, Stream
from aitbc.answers.jobs import Job, ServiceJob

P = ParamSpec("P")
T = TypeVar("T")
DriverT = TypeVar("DriverT", bound=Driver | AsyncDriver)
BlockingT = TypeVar("BlockingT")
AwaitedT = TypeVar("AwaitedT")


class CallGroup(Generic[DriverT]):
    """A group of calls of a client with this kind of driver."""

    def __init__(self, session: Session, driver: DriverT) -> None:
        self._session = session
        self._driver = driver


class _Method(Generic[BlockingT, AwaitedT]):
    """A call as a method of both kinds of clients. The driver of the group decides which function it is."""

    def __init__(self, blocking: Callable[..., Any], awaited: Callable[..., Any]) -> None:
        self._blocking = blocking
        self._awaited = awaited

    @overload
    def __get__(self, group: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, group: CallGroup[Driver], owner: type) -> BlockingT: ...
    @overload
    def __get__(self, group: CallGroup[AsyncDriver], owner: type) -> AwaitedT: ...
    def __get__(self, group: CallGroup[Any] | None, owner: type) -> Any:
        # Of the class itself, as `help` reads it.
        if group is None:
            return self._blocking
        return MethodType(self._awaited if isinstance(group._driver, AsyncDriver) else self._blocking, group)  # noqa: SLF001 - of the same module


def method(
    flow: Callable[Concatenate[Session, P], Flow[T]],
) -> _Method[Callable[P, T], Callable[P, Coroutine[Any, Any, T]]]:
    """Return the method for a call with one answer."""
    name = f"{flow.__module__.replace('._calls', '')}.{flow.__name__}"

    @functools.wraps(flow)
    def blocking(self: CallGroup[Driver], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with client_spans.span(name):
            return self._driver.run(flow(self._session, *args, **kwargs))

    @functools.wraps(flow)
    async def awaited(self: CallGroup[AsyncDriver], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with client_spans.span(name):
            return await self._driver.run(flow(self._session, *args, **kwargs))

    return _Method(blocking, awaited)


def iterating_method(
    flow: Callable[Concatenate[Session, P], Stream[T]],
) -> _Method[Callable[P, Generator[T, None, None]], Callable[P, AsyncGenerator[T, None]]]:
    """Return the method for a call that yields answers."""

    @functools.wraps(flow)
    def iterator(self: CallGroup[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._driver.iterate(flow(self._session, *args, **kwargs))

    return _Method(iterator, iterator)


def _streaming_method(
    flow: Callable[Concatenate[Session, P], Flow[ServiceJob]],
) -> _Method[Callable[P, TextStream], Callable[P, Coroutine[Any, Any, AsyncTextStream]]]:
    @functools.wraps(flow)
    def blocking(self: CallGroup[Driver], /, *args: P.args, **kwargs: P.kwargs) -> TextStream:
        job = self._driver.run(flow(self._session, *args, **kwargs))
        return TextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    @functools.wraps(flow)
    async def awaited(self: CallGroup[AsyncDriver], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTextStream:
        job = await self._driver.run(flow(self._session, *args, **kwargs))
        return AsyncTextStream(job, self._driver.iterate(write(self._session, job.job_id)))

    return _Method(blocking, awaited)


class JobCalls(CallGroup[DriverT]):
    """Create, follow, repeat, cancel and delete jobs, and fetch their results and logs."""

    create = method(jobs.create)
    upload = method(jobs.upload)
    get = method(jobs.get)
    explain = method(jobs.explain)
    list = method(jobs.list_jobs)
    labels = method(jobs.list_labels)
    cancel = method(jobs.cancel)
    rerun = method(jobs.rerun)
    log = method(jobs.log)
    delete_data = method(jobs.delete_data)
    get_results = method(jobs.get_results)
    wait = method(jobs.wait)
    seal = method(sealing.seal)
    sealed_request = method(opening.sealed_request)
    events = iterating_method(opening.follow)


class ServiceCalls(CallGroup[DriverT]):
    """Call services. Each call creates a job of its type."""

    call = method(services.call_service)
    transcribe = method(services.transcribe)
    transcode = method(services.transcode)
    generate = method(services.generate)
    infer = method(services.infer)
    stream = _streaming_method(services.stream)
    embed = method(services.embed)
    rerank = method(services.rerank)
    speak = method(services.speak)
    render = method(services.render)
    run = method(services.run)

    @overload
    def text_of(self: ServiceCalls[Driver], job: Job) -> TextStream: ...
    @overload
    def text_of(self: ServiceCalls[AsyncDriver], job: Job) -> AsyncTextStream: ...
    def text_of(self, job: Job) -> TextStream | AsyncTextStream:
        """Return the text of a language model's job that exists already, as `stream` does for a new one."""
        # A stream shows the job of a service call, which may carry results; a `Job` has all its fields except these.
        created = ServiceJob.read(job.to_dict())
        text = write(self._session, job.job_id)
        if isinstance(self._driver, AsyncDriver):
            return AsyncTextStream(created, self._driver.iterate(text))
        return TextStream(created, self._driver.iterate(text))


class ArtifactCalls(CallGroup[DriverT]):
    """List, upload, download, read, link and delete files."""

    list = method(artifacts.list_artifacts)
    upload = method(artifacts.upload)
    download = method(artifacts.download)
    get = method(artifacts.get)
    link = method(artifacts.link)
    delete = method(artifacts.delete)


class ReceiptCalls(CallGroup[DriverT]):
    """Fetch and export receipts, or have the coordinator verify them."""

    get = method(receipts.get)
    verify = method(receipts.verify)
    export = method(receipts.export)


class RegistryCalls(CallGroup[DriverT]):
    """The registry of services, with their inputs and hardware requirements."""

    services = method(registry.services)
    get = method(registry.get)
    schema = method(registry.schema)
    requirements = method(registry.requirements)
    validate = method(registry.validate)


class LogCalls(CallGroup[DriverT]):
    """The coordinator's log: checkpoint, proofs and tiles. `aitbc.monitor` verifies them."""

    checkpoint = method(log.checkpoint)
    proof = method(log.proof)
    tile = method(log.tile)


class MarketplaceCalls(CallGroup[DriverT]):
    """The marketplace: miners' offers, jobs assigned to them, and statistics."""

    create_offer = method(marketplace.create_offer)
    offers = method(marketplace.offers)
    accept = method(marketplace.accept)
    withdraw = method(marketplace.withdraw)
    services = method(marketplace.services)
    miners = method(marketplace.miners)
    stats = method(marketplace.stats)


class WalletCalls(CallGroup[DriverT]):
    """The wallet's balance and transactions."""

    get = method(wallet.get)
    transactions = method(wallet.transactions)


class WebhookCalls(CallGroup[DriverT]):
    """Messages to an address of yours when a job ends: the secret that signs them, and their delivery."""

    secret = method(webhooks.secret)
    rotate_secret = method(webhooks.rotate_secret)
    of_job = method(webhooks.of_job)


class MinerCalls(CallGroup[DriverT]):
    """Miners: their statistics and state, and the commands of their owners."""

    stats = method(miners.stats)
    list = method(miners.list_miners)
    fleet = method(miners.fleet)
    get = method(miners.get)
    explain = method(miners.explain)
    earnings = method(miners.earnings)
    outlook = method(miners.outlook)
    gpu_history = method(miners.gpu_history)
    pause = method(miners.pause)
    resume = method(miners.resume)
    settings = method(miners.settings)
    change_settings = method(miners.change_settings)
    fetch_model = method(miners.fetch_model)
    remove_model = method(miners.remove_model)
    encryption_key = method(sealing.encryption_key)
    is_attested = method(sealing.is_attested)


class KeyCalls(CallGroup[DriverT]):
    """The client's own API key, and the other keys of its account."""

    me = method(keys.me)
    revoke_self = method(keys.revoke_self)
    list = method(keys.list_keys)
    create = method(keys.create)
    revoke = method(keys.revoke)
    create_login = method(keys.create_login)


class AdminCalls(CallGroup[DriverT]):
    """Administration: accounts, keys, tokens, and an overview."""

    accounts = method(admin.accounts)
    create_account = method(admin.create_account)
    credit = method(admin.credit)
    debit = method(admin.debit)
    keys = method(admin.keys)
    create_key = method(admin.create_key)
    revoke_key = method(admin.revoke_key)
    enrolments = method(admin.enrolments)
    create_enrolment = method(admin.create_enrolment)
    revoke_enrolment = method(admin.revoke_enrolment)
    create_login = method(admin.create_login)
    exclude_miner = method(admin.exclude_miner)
    include_miner = method(admin.include_miner)
    remove_miner = method(admin.remove_miner)
    history = method(admin.history)
    trail = method(admin.trail)
    overview = method(admin.overview)


class PayoutCalls(CallGroup[DriverT]):
    """Payouts: batches for administrators; payments, addresses and proofs for miners' owners."""

    batches = method(payouts.batches)
    batch = method(payouts.batch)
    preview = method(payouts.preview)
    create = method(payouts.create)
    approve = method(payouts.approve)
    cancel = method(payouts.cancel)
    report = method(payouts.report)
    hand_in = method(payouts.hand_in)
    deposits = method(payouts.deposits)
    of_miner = method(payouts.of_miner)
    address = method(payouts.address)
    set_address = method(payouts.set_address)
    proof = method(payouts.proof)


class AuditCalls(CallGroup[DriverT]):
    """Audits of results by other miners, and canaries, the jobs with known answers."""

    list = method(audits.list_audits)
    get = method(audits.get)
    of_job = method(audits.of_job)
    of_miner = method(audits.of_miner)
    ask_for_second_opinion = method(audits.ask_for_second_opinion)
    create_canary = method(audits.create_canary)
    canaries = method(audits.canaries)
    delete_canary = method(audits.delete_canary)
