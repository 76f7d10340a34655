"""Payout addresses of miners, and their changes. Every statement that was accepted remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from agent.coordinator.features.payouts.tables import payout_addresses
from agent.coordinator.store import records

_TABLE: Final = payout_addresses.c


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """A statement that a miner is paid to an address from `effective_at` on. `envelope` is the signed statement (JSON)."""

    miner_id: str
    sequence: int
    adapter: str
    currency: str
    address: str
    envelope: str
    created_at: float
    effective_at: float
    revoked_at: float | None = None

    @property
    def destination(self) -> tuple[str, str, str]:
        """The adapter, the currency and the address."""
        return self.adapter, self.currency, self.address


_COLUMNS: Final = records.columns(payout_addresses, AddressRecord)


def _effective(now: float) -> ColumnElement[bool]:
    return and_(_TABLE.revoked_at.is_(None), _TABLE.effective_at <= now)


def in_force(connection: Connection, miner_id: str, now: float) -> AddressRecord | None:
    """Return the address to which a miner is paid, or None."""
    query = select(*_COLUMNS).where(_TABLE.miner_id == miner_id, _effective(now))
    return records.find(connection, AddressRecord, query.order_by(_TABLE.sequence.desc()).limit(1))


def pending(connection: Connection, miner_id: str, now: float) -> AddressRecord | None:
    """Return a miner's change that has not taken effect yet, or None."""
    query = select(*_COLUMNS).where(
        _TABLE.miner_id == miner_id, _TABLE.revoked_at.is_(None), _TABLE.effective_at > now
    )
    return records.find(connection, AddressRecord, query.order_by(_TABLE.sequence.desc()).limit(1))


def all_in_force(connection: Connection, now: float) -> dict[str, AddressRecord]:
    """Return the addresses of all miners that have one."""
    newest = (
        select(_TABLE.miner_id, func.max(_TABLE.sequence).label("sequence"))
        .where(_effective(now))
        .group_by(_TABLE.miner_id)
        .subquery()
    )
    joined = and_(newest.c.miner_id == _TABLE.miner_id, newest.c.sequence == _TABLE.sequence)
    rows = connection.execute(select(*_COLUMNS).join_from(payout_addresses, newest, joined))
    return {record.miner_id: record for record in (AddressRecord(*row) for row in rows)}


def newest_sequence(connection: Connection, miner_id: str) -> int:
    """Return the number of a miner's newest statement, 0 if there is none."""
    query = select(func.max(_TABLE.sequence)).where(_TABLE.miner_id == miner_id)
    return connection.execute(query).scalar_one() or 0


def envelope_of(connection: Connection, miner_id: str, sequence: int) -> str | None:
    """Return the envelope of a statement (JSON), or None."""
    query = select(_TABLE.envelope).where(_TABLE.miner_id == miner_id, _TABLE.sequence == sequence)
    return connection.execute(query).scalar_one_or_none()


def add(connection: Connection, record: AddressRecord) -> None:
    """Store a statement. It replaces a change that has not taken effect yet."""
    change = update(payout_addresses).where(
        _TABLE.miner_id == record.miner_id,
        _TABLE.revoked_at.is_(None),
        _TABLE.effective_at > record.created_at,
    )
    connection.execute(change.values(revoked_at=record.created_at))
    connection.execute(insert(payout_addresses), records.values(record))
