"""Sends approved batches of payouts through their adapters. Only the leader runs it.

Everything that an adapter answers is stored before its next call (see `agent.coordinator.features.payouts.adapter`), so that the process may
die at any point: when it starts again, it repeats the call whose answer was not stored. For a moment there may be two leaders; the
rows decide which one's answer counts, and adapters send the same bytes only once.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, TypeVar

import structlog

from agent.coordinator.cluster import Bus
from agent.coordinator.features.payouts.adapter import Answer, BatchInfo, Outcome, Payment, Prepared, Transfer
from agent.coordinator.features.payouts.adapters.installed import Adapters
from agent.coordinator.features.payouts.adapters.threads import AdapterThread
from agent.coordinator.features.payouts.rules import TransferState, next_pause
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.coordinator.features.payouts.store import batches, bookings, transfers
from agent.coordinator.features.payouts.store.batches import BatchRecord, Ending, PayoutRecord, announce
from agent.coordinator.features.payouts.store.transfers import Outdated, TransferRecord
from agent.coordinator.randomness import random_bytes
from agent.coordinator.store.database import Connection, Database
from agent.core.values.quantities import make_id
from agent.fault_points import reach
from aitbc.answers.payouts import PaymentState

WORK: Final = "payouts"
"""The signal to the leader that there may be something to prepare."""
IDLE_SECONDS: Final = 30.0
"""Longest interval at which due calls are queried: the signal of another replica may be lost."""
UNUSABLE: Final = "The adapter cannot be used, so nothing happens to this batch: "
EXCLUDED: Final = "The miner was excluded before the payment was prepared."
RETRY_SECONDS: Final = 1.0
RECORD_SECONDS: Final = 5.0
"""Time for storing the answer of a call, after its time limit, before the call is due again."""
MAX_TRANSFERS: Final = 100
"""Due transfers that are read at once."""
CLOSE_SECONDS: Final = 5.0
MAX_ERROR: Final = 500

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(slots=True)
class _Backoff:
    """When payments of a batch are prepared again, and how often that has failed in a row."""

    at: float = 0.0
    failures: int = 0


class PayoutWorker:
    """Sends batches. `run` is the loop. `adapters` are those that can be used, and `settings` those of payouts."""

    def __init__(
        self, database: Database, settings: PayoutSettings, adapters: Adapters, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.adapters = adapters
        self._database = database
        self._clock = clock
        self._threads = {name: AdapterThread(name) for name in adapters.usable}
        # The empty name wakes the loop that watches batches of unusable adapters.
        self._wakes = {name: asyncio.Event() for name in ("", *adapters.usable)}
        self._backoffs: dict[str, _Backoff] = {}
        self._bus: Bus | None = None

    def connect(self, bus: Bus) -> None:
        """Wake, and be woken by, other replicas: any of them may approve a batch, and the leader sends it."""
        self._bus = bus
        bus.on_signal(WORK, self._wake)

    def wake(self) -> None:
        """Query due calls soon."""
        self._wake()
        if self._bus is not None:
            self._bus.signal(WORK)

    def _wake(self) -> None:
        # All are woken, since the signal does not say whose batch was approved.
        for event in self._wakes.values():
            event.set()

    async def run(self) -> None:
        """Send batches until cancelled. May be called again afterwards."""
        # Another replica may have been the leader in the meantime, so what was known about failures is old.
        self._backoffs.clear()
        async with asyncio.TaskGroup() as group:
            # A loop for each adapter: one that hangs must not hold up the payments of another.
            for name in self.adapters.usable:
                group.create_task(self._serve(name), name=f"payouts-{name}")
            group.create_task(self._watch(), name="payouts-unusable")

    async def close(self) -> None:
        """Close the adapters. They are not used afterwards."""
        for name, adapter in self.adapters.usable.items():
            thread = self._threads[name]
            # An adapter that was never called has no thread and nothing to close.
            if thread.started:
                with suppress(Exception):
                    await thread.call(adapter.close, CLOSE_SECONDS)
                thread.stop()

    async def _serve(self, name: str) -> None:
        wake, resumed = self._wakes[name], False
        while True:
            # Cleared before the database is read: a signal that comes during the round is not lost, and leads to another one.
            wake.clear()
            try:
                # Calls that a former leader has claimed and not answered are due again at once, instead of after their time limit.
                if not resumed:
                    await self._database.write(transfers.resume, name, self._clock())
                    resumed = True
                worked, retry_at = await self._prepare_due(name)
                worked |= await self._call_due(name)
                due = await self._database.read(transfers.next_due, name)
            except Exception:  # the loop survives a round that fails
                log.exception("payouts_failed", adapter=name)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            # There may be more than one round reads, so there is no pause.
            if worked:
                continue
            seconds = min(retry_at, self._clock() + IDLE_SECONDS if due is None else due) - self._clock()
            await _woken(wake, min(max(0.0, seconds), IDLE_SECONDS))

    async def _watch(self) -> None:
        """Note at batches whose adapter cannot be used why nothing happens to them."""
        while True:
            self._wakes[""].clear()
            try:
                for batch in await self._database.read(batches.unfinished):
                    await self._note_fault(batch)
            except Exception:  # as in `_serve`
                log.exception("payouts_failed")
            await _woken(self._wakes[""], IDLE_SECONDS)

    async def _note_fault(self, batch: BatchRecord) -> None:
        noted = batch.last_error is not None and batch.last_error.startswith(UNUSABLE)
        fault: str | None = None
        if batch.adapter not in self.adapters.usable:
            why = self.adapters.faults.get(batch.adapter, "payouts.adapters does not name it.")
            fault = _storable(f"{UNUSABLE}{why}")[:MAX_ERROR]
        # An error that an adapter has reported itself stays as it is.
        if fault != batch.last_error and (fault is not None or noted):
            await self._database.write(transfers.note_error, batch.batch_id, fault)

    async def _prepare_due(self, name: str) -> tuple[bool, float]:
        """Prepare the payments that are due. Return whether there were any, and when the next one is due."""
        worked, retry_at = False, math.inf
        for batch in await self._database.read(batches.to_prepare, name):
            backoff = self._backoffs.setdefault(batch.batch_id, _Backoff())
            if backoff.at <= self._clock():
                payments = await self._database.read(batches.of_batch, batch.batch_id, PaymentState.APPROVED)
                await self._prepare(name, batch, payments, backoff)
                worked = True
            retry_at = min(retry_at, backoff.at)
        return worked, retry_at

    async def _prepare(
        self, name: str, batch: BatchRecord, payments: Sequence[PayoutRecord], backoff: _Backoff
    ) -> None:
        adapter, info = self.adapters.usable[name], _info(batch)
        # Excluded miners are left out before the adapter sees the payments, since it cannot take a prepared payment back.
        if await self._database.read(batches.excluded, batch.batch_id):
            await self._database.write(self._fail_excluded, batch.batch_id)
            return
        chosen = [payment_of(payment) for payment in payments]
        nonces = await self._database.read(transfers.highest_nonces, name)
        try:
            prepared = await self._call(name, lambda: adapter.prepare(info, chosen, nonces))
            reach("payout.prepared", name)
            await self._database.write(self._store_prepared, batch, prepared)
        # The rows changed while the adapter worked. Nothing was sent, so the next round begins again.
        except Outdated:
            return
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything; nothing was sent
            backoff.failures += 1
            pause = self._pause(backoff.failures)
            backoff.at = self._clock() + pause
            await self._database.write(transfers.note_error, batch.batch_id, _describe(error))
            log.warning("payout_not_prepared", batch_id=batch.batch_id, adapter=name, error=_describe(error))
            return
        waiting = (
            len(payments)
            - sum(len(transfer.payout_ids) for transfer in prepared.transfers)
            - len(prepared.failed)
        )
        # Payments that wait for something, such as an invoice, are tried again at the interval of polls.
        backoff.failures, backoff.at = 0, self._clock() + (self.settings.poll_seconds if waiting else 0.0)
        if batch.last_error is not None:
            await self._database.write(transfers.note_error, batch.batch_id, None)
        log.info(
            "payout_prepared",
            batch_id=batch.batch_id,
            adapter=name,
            transfers=len(prepared.transfers),
            failed=len(prepared.failed),
            waiting=waiting,
        )

    def _fail_excluded(self, connection: Connection, batch_id: str) -> None:
        """End the payments to miners that were excluded after the batch was created: their money moves back, and stays there."""
        now = self._clock()
        bookings.lock(connection, batch_id)
        endings = [
            Ending(payout_id, False, reason=EXCLUDED)
            for payout_id in sorted(batches.excluded(connection, batch_id))
        ]
        announce(connection, batches.end(connection, batch_id, endings, now), now)

    def _store_prepared(self, connection: Connection, batch: BatchRecord, prepared: Prepared) -> None:
        now = self._clock()
        # A miner may have been excluded while the adapter prepared; the check and the storing are one transaction.
        if batches.excluded(connection, batch.batch_id):
            raise Outdated
        stored_transfers = [
            (
                TransferRecord(
                    transfer_id=make_id("transfer", now, random_bytes(10)),
                    batch_id=batch.batch_id,
                    adapter=batch.adapter,
                    source=transfer.source,
                    nonce=transfer.nonce,
                    state=TransferState.PREPARED.value,
                    content=transfer.content,
                    reference=transfer.reference,
                    adapter_state=json.dumps(dict(transfer.state)),
                    attempts=0,
                    failures=0,
                    # The bytes are sent by a later call, which may be repeated: storing them first is what prevents a second payment.
                    next_call_at=now,
                    last_error=None,
                    created_at=now,
                ),
                transfer.payout_ids,
            )
            for transfer in prepared.transfers
        ]
        transfers.add_transfers(connection, batch.batch_id, stored_transfers, prepared.waiting)
        endings = [
            Ending(payout_id, False, reason=_storable(reason))
            for payout_id, reason in prepared.failed.items()
        ]
        announce(connection, batches.end(connection, batch.batch_id, endings, now), now)

    async def _call_due(self, name: str) -> bool:
        """Make the calls that are due. Return whether there were any."""
        due_transfers = await self._database.read(transfers.due, name, self._clock(), MAX_TRANSFERS)
        for transfer in due_transfers:
            # If this process dies during the call, the transfer is due again after that time.
            until = self._clock() + self.settings.call_seconds + RECORD_SECONDS
            claimed = await self._database.write(transfers.claim, transfer, until)
            # None: another leader has claimed it, or its payments have ended.
            if claimed is not None:
                await self._call_for(name, claimed)
        return bool(due_transfers)

    async def _call_for(self, name: str, record: TransferRecord) -> None:
        """Send or poll one transfer, and store the answer."""
        adapter = self.adapters.usable[name]
        transfer = await self._database.read(_transfer, record)
        # Until a send is known to have succeeded, the same bytes are sent again rather than polled.
        sends = record.state == TransferState.PREPARED
        try:
            if sends:
                reach("payout.sending", name)
                answer = await self._call(name, lambda: adapter.send(transfer))
                reach("payout.sent", name)
            else:
                answer = await self._call(name, lambda: adapter.poll(transfer))
                reach("payout.polled", name)
            ended = await self._database.write(self._store_answer, record, answer, sends=sends)
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything; the outcome is unknown
            pause = self._pause(record.failures + 1)
            await self._database.write(
                transfers.record_failure, record, _describe(error), self._clock() + pause
            )
            log.warning(
                "payout_call_failed",
                transfer_id=record.transfer_id,
                adapter=name,
                call="send" if sends else "poll",
                error=_describe(error),
            )
            return
        for payment in ended:
            log.info(
                "payout_ended",
                payout_id=payment.payout_id,
                miner_id=payment.miner_id,
                state=payment.state,
                reason=payment.reason,
            )

    def _store_answer(
        self, connection: Connection, record: TransferRecord, answer: Answer, *, sends: bool
    ) -> list[PayoutRecord]:
        now = self._clock()
        changed = replace(
            record,
            content=record.content if answer.content is None else answer.content,
            reference=record.reference if answer.reference is None else answer.reference,
            adapter_state=record.adapter_state if answer.state is None else json.dumps(dict(answer.state)),
        )
        endings = [
            Ending(
                report.payout_id,
                report.outcome is Outcome.CONFIRMED,
                reason=_storable(report.reason) or None,
                reference=_storable(report.reference) or None,
            )
            for report in answer.reports
            # A payment that is on its way has no ending yet; only its reference is stored.
            if report.outcome is not Outcome.SENT
        ]
        references = {
            report.payout_id: _storable(report.reference)
            for report in answer.reports
            if report.outcome is Outcome.SENT and report.reference
        }
        resend = answer.content is not None
        # What was just sent is polled immediately, since many receivers answer immediately.
        pause = 0.0 if sends or resend else self.settings.poll_seconds
        ended = transfers.record_call(
            connection, changed, endings, references, now, next_call_at=now + pause, resend=resend
        )
        announce(connection, ended, now)
        return ended

    async def _call(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._threads[name].call(make, self.settings.call_seconds)

    def _pause(self, failures: int) -> float:
        return next_pause(failures, self.settings.retry_seconds, self.settings.max_retry_seconds)


async def _woken(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _info(batch: BatchRecord) -> BatchInfo:
    return BatchInfo(batch.batch_id, batch.adapter, batch.currency, (batch.manifest or "").encode())


def payment_of(record: PayoutRecord) -> Payment:
    """Return a payment as adapters see it."""
    handed_in = None if record.handed_in is None else json.loads(record.handed_in)
    return Payment(
        record.payout_id,
        record.miner_id,
        record.address,
        Decimal(record.sent_amount),
        record.created_at,
        handed_in,
    )


def _transfer(connection: Connection, record: TransferRecord) -> Transfer:
    """Return a transfer for the adapter, with those of its payments that have not ended."""
    batch = batches.find_batch(connection, record.batch_id)
    if batch is None:
        raise LookupError(record.batch_id)
    payments = batches.of_transfer(connection, record.transfer_id)
    return Transfer(
        transfer_id=record.transfer_id,
        batch=_info(batch),
        payments=tuple(payment_of(payment) for payment in payments if payment.finished_at is None),
        content=record.content,
        reference=record.reference,
        source=record.source,
        nonce=record.nonce,
        state=json.loads(record.adapter_state),
        # The claim has counted the call that is about to be made, and adapters get the number of those before it.
        attempts=record.attempts - (record.state == TransferState.PREPARED),
        created_at=record.created_at,
        sent_at=record.sent_at,
    )


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "The adapter did not answer in time (payouts.call_seconds); whether it paid is not known yet."
    return _storable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)[:MAX_ERROR]


def _storable(text: str) -> str:
    """Return a text from outside without what PostgreSQL's text cannot contain, which would undo what is stored with it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
