"""Payout addresses: only a statement that a miner's identity key has signed sets or changes one. An API key does nothing."""

from __future__ import annotations

from typing import Any, Final

import structlog

from agent.coordinator.features.payouts import views
from agent.coordinator.features.payouts.adapter import AddressRefused
from agent.coordinator.features.payouts.miners import HOUR
from agent.coordinator.features.payouts.rules import effective_at
from agent.coordinator.features.payouts.store import addresses, bookings
from agent.coordinator.features.payouts.store.addresses import AddressRecord
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.store import events, miners
from agent.coordinator.store.events import NOBODY, NewEvent
from agent.core.errors import Conflict, Forbidden, NotFound, ServiceUnavailable, ValidationFailed
from agent.core.values.quantities import format_time, parse_time
from aitbc.answers import payouts
from aitbc.canonical import canonical_json
from aitbc.errors import FormatError, VerificationError
from aitbc.leaves.payouts import PayoutAddress, open_payout_address

AHEAD_SECONDS: Final = 300.0
"""How far the clock of the machine that signs may be ahead of this clock."""
OLDEST_SECONDS: Final = 86_400.0
"""Age at which a statement is refused: long enough to sign it on another machine, too short to be found and used later."""

log = structlog.get_logger()


async def show(context: Context, caller: Caller, miner_id: str) -> payouts.PayoutAddresses:
    """Return the address of one of the caller's miners, and its pending change. Raises `NotFound`."""
    return await context.database.read(_show_to, context, caller, miner_id)


def _show_to(
    connection: Connection, context: Context, caller: Caller, miner_id: str
) -> payouts.PayoutAddresses:
    # A miner that was removed keeps what it has earned, so its owner still sees where that goes.
    of_caller(connection, caller, miner_id, removed=True)
    return _show(connection, context, miner_id)


def _show(connection: Connection, context: Context, miner_id: str) -> payouts.PayoutAddresses:
    now = context.clock()
    return payouts.PayoutAddresses(
        miner_id=miner_id,
        address=_view(addresses.in_force(connection, miner_id, now)),
        pending=_view(addresses.pending(connection, miner_id, now)),
        origin=context.signer.origin,
        delay_hours=context.part(PayoutWorker).settings.address_delay_hours,
        adapters=views.adapters(context),
    )


def _view(record: AddressRecord | None) -> payouts.PayoutDestination | None:
    if record is None:
        return None
    return payouts.PayoutDestination(
        adapter=record.adapter,
        currency=record.currency,
        address=record.address,
        sequence=record.sequence,
        created_at=format_time(record.created_at),
        effective_at=format_time(record.effective_at),
    )


async def set_address(context: Context, miner_id: str, envelope: dict[str, Any]) -> payouts.PayoutAddresses:
    """Store a signed statement. It takes effect after the delay, immediately if it is the miner's first or names the address in force.

    The latter revokes a change that is pending. Raises `NotFound`, `Forbidden` for a signature that is not the miner's,
    `ValidationFailed`, `Conflict` for a statement that is not newer than the last one, and `ServiceUnavailable` for an adapter that
    cannot be used.
    """
    miner = await context.database.read(miners.find_former, miner_id)
    if miner is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    try:
        statement = open_payout_address(envelope, miner.public_key)
    except FormatError as error:
        raise ValidationFailed(
            "The request is not a signed payout address.", {"envelope": str(error)}
        ) from None
    except VerificationError as error:
        raise Forbidden(
            f"{error} Only the miner's identity key can change its payout address: sign on its machine with "
            "`aitbc-agent payouts address set`."
        ) from None
    _check(context, statement)
    # An adapter's code runs outside the transaction, which holds a lock.
    address = _normalised(context, statement)
    changed, answer = await context.database.write(_set, context, statement, address, envelope)
    log.info("payout_address_set", miner_id=miner_id, changed=changed, adapter=statement.adapter)
    return answer


def _check(context: Context, statement: PayoutAddress) -> None:
    # An owner may use one identity key at several coordinators: a statement for one must not redirect the money of another.
    if statement.origin != context.signer.origin:
        raise Forbidden(
            f"The statement is for the coordinator {statement.origin}, and this one is {context.signer.origin}."
        )
    # Otherwise, anybody who finds an old signed statement could set the address back to it.
    require_recent(context, statement.created_at)


def require_recent(context: Context, created_at: str) -> None:
    """Raise `Forbidden` for a signed statement that is too old, or from the future."""
    age = context.clock() - parse_time(created_at)
    if not -AHEAD_SECONDS <= age <= OLDEST_SECONDS:
        raise Forbidden(
            "The statement is older than a day, or from the future. Check the clock of the machine that signs, and sign again."
        )


def _normalised(context: Context, statement: PayoutAddress) -> str:
    adapters = context.part(PayoutWorker).adapters
    if statement.adapter in adapters.faults:
        raise ServiceUnavailable(adapters.faults[statement.adapter])
    adapter = adapters.usable.get(statement.adapter)
    if adapter is None:
        choices = ", ".join(adapters.usable) or "none"
        raise ValidationFailed(
            "The address is not valid.", {"adapter": f"choose an adapter of this coordinator: {choices}"}
        )
    if statement.currency not in adapter.currencies:
        choices = ", ".join(adapter.currencies)
        raise ValidationFailed(
            "The address is not valid.", {"currency": f"choose a currency of the adapter: {choices}"}
        )
    try:
        return adapter.check_address(statement.address, statement.currency)
    except AddressRefused as error:
        raise ValidationFailed("The address is not valid.", {"address": str(error)}) from None


def _set(
    connection: Connection,
    context: Context,
    statement: PayoutAddress,
    address: str,
    envelope: dict[str, Any],
) -> tuple[bool, payouts.PayoutAddresses]:
    miner_id, now = statement.miner_id, context.clock()
    # Two statements at the same time must not both pass the comparison of their sequences.
    bookings.lock(connection, miner_id)
    stored = canonical_json(envelope).decode()
    newest = addresses.newest_sequence(connection, miner_id)
    # A repetition of the same request, whose answer was lost, is no conflict.
    if newest and addresses.envelope_of(connection, miner_id, newest) == stored:
        return False, _show(connection, context, miner_id)
    # A sequence only rises, so nobody can replay an older statement of the miner.
    if newest >= statement.sequence:
        raise Conflict(
            "The miner has signed a newer payout address; the sequence of a new one must be higher.",
            {"sequence": statement.sequence, "newest": newest},
        )
    # Signing the address in force again is how an owner revokes a change that somebody else has made.
    present = addresses.in_force(connection, miner_id, now)
    destination = (statement.adapter, statement.currency, address)
    unchanged = present is not None and present.destination == destination
    delay = context.part(PayoutWorker).settings.address_delay_hours * HOUR
    record = AddressRecord(
        miner_id=miner_id,
        sequence=statement.sequence,
        adapter=statement.adapter,
        currency=statement.currency,
        address=address,
        envelope=stored,
        created_at=now,
        effective_at=effective_at(now, first=present is None, unchanged=unchanged, delay_seconds=delay),
    )
    addresses.add(connection, record)
    events.add(connection, [_changed(record, unchanged=unchanged)], now)
    return not unchanged, _show(connection, context, miner_id)


def _changed(record: AddressRecord, *, unchanged: bool) -> NewEvent:
    """Return the event that warns the owner. It does not name the address, which other programs of the owner need not know."""
    data = {
        "kind": "address",
        "miner_id": record.miner_id,
        "status": "revoked" if unchanged else "changed",
        "adapter": record.adapter,
        "effective_at": format_time(record.effective_at),
        "timestamp": format_time(record.created_at),
    }
    return NewEvent("payout_update", data, NOBODY, record.miner_id)
