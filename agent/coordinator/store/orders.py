"""Orders of owners that wait until their miners have obeyed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import miner_orders
from agent.core.orders import Order, OrderKind


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order as stored."""

    order_id: str
    miner_id: str
    order: Order
    created_at: float


_COLUMNS = tuple(
    miner_orders.c[name] for name in ("order_id", "miner_id", "kind", "gpu", "seconds", "model", "created_at")
)
_waiting = Prepared(
    select(*_COLUMNS)
    .where(miner_orders.c.miner_id == bindparam("key"))
    .order_by(miner_orders.c.miner_id, miner_orders.c.order_id)
)


def add(connection: Connection, record: OrderRecord) -> None:
    """Store an order."""
    order = record.order
    values = {
        "order_id": record.order_id, "miner_id": record.miner_id, "kind": order.kind.value, "gpu": order.gpu,
        "seconds": order.seconds, "model": order.model, "created_at": record.created_at,
    }  # fmt: skip
    connection.execute(insert(miner_orders), values)


def waiting(connection: Connection, miner_id: str) -> list[OrderRecord]:
    """The orders that a miner has not obeyed yet, in the order in which they were given."""
    return [_record(*row) for row in _waiting.rows(connection, {"key": miner_id})]


def waiting_for(connection: Connection, miner_ids: Sequence[str]) -> dict[str, list[OrderRecord]]:
    """The same for several miners; those without orders are left out."""
    query = select(*_COLUMNS).where(miner_orders.c.miner_id.in_(miner_ids)).order_by(miner_orders.c.order_id)
    found: defaultdict[str, list[OrderRecord]] = defaultdict(list)
    for row in connection.execute(query):
        record = _record(*row)
        found[record.miner_id].append(record)
    return dict(found)


def remove(connection: Connection, miner_id: str, order_ids: Collection[str]) -> None:
    """Forget orders of a miner; those that are not its own, or not known, are left alone."""
    if order_ids:
        connection.execute(
            delete(miner_orders).where(
                miner_orders.c.miner_id == miner_id, miner_orders.c.order_id.in_(order_ids)
            )
        )


def _record(
    order_id: str,
    miner_id: str,
    kind: str,
    gpu: str | None,
    seconds: float | None,
    model: str | None,
    created_at: float,
) -> OrderRecord:
    return OrderRecord(order_id, miner_id, Order(OrderKind(kind), gpu, seconds, model), created_at)
