"""What miners are ordered to do: by their owners, and to fetch meanwhile the model of a job that waits."""

from __future__ import annotations

import json
from typing import Any, Final

import structlog

from agent.coordinator.operations.answers.miners import GivenOrder
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners as miner_store
from agent.coordinator.store import orders as store
from agent.coordinator.store import queue
from agent.coordinator.store.miners import MinerRecord
from agent.coordinator.store.orders import OrderRecord
from agent.core.errors import Conflict, NotFound, ValidationFailed
from agent.core.orders import Order
from agent.core.values.quantities import format_time
from agent.protocol import answers

WAITED_FOR_CACHE_SECONDS: Final = 1.0
MAX_MODELS: Final = 100
"""How many of the models that are waited for are looked at, those with the most jobs first."""
log = structlog.get_logger()


async def give(context: Context, caller: Caller, miner_id: str, order: Order) -> GivenOrder:
    """Order a miner of the caller's to do something; it waits until the miner has obeyed.

    Raises `NotFound` for somebody else's miner, `ValidationFailed` for a GPU that it does not have, `Conflict` where too
    much waits already.
    """
    record = OrderRecord(context.new_id("order"), miner_id, order, context.clock())
    await context.database.write(_give, caller, record, context.settings.max_orders_per_miner)
    context.dispatcher.ask_for_heartbeat(miner_id)
    log.info("miner_ordered", miner_id=miner_id, order=order.kind, order_id=record.order_id, by=caller.role)
    return GivenOrder(
        order_id=record.order_id,
        order=order.kind.value,
        created_at=format_time(record.created_at),
    )


def _give(connection: Connection, caller: Caller, record: OrderRecord, most: int) -> None:
    miner = of_caller(connection, caller, record.miner_id)
    order = record.order
    known = [gpu["uuid"] for gpu in json.loads(miner.capabilities)["gpus"]]
    if order.gpu is not None and order.gpu not in known:
        has = ", ".join(known) or "none"
        raise ValidationFailed(
            "The request is not valid.", {"gpu": f"the miner has no such GPU; it has {has}"}
        )
    waiting = store.waiting(connection, record.miner_id)
    replaced = {former.order_id for former in waiting if order.replaces(former.order)}
    if len(waiting) - len(replaced) >= most:
        raise Conflict(
            f"{most} orders wait for this miner, as many as may. It has not been there to obey them.",
            {"limit": most},
        )
    store.remove(connection, record.miner_id, replaced)
    store.add(connection, record)


def of_caller(connection: Connection, caller: Caller, miner_id: str) -> MinerRecord:
    """The miner, if it is the caller's own or the caller an administrator. Raises `NotFound`."""
    mine = caller.role is Role.ADMIN or caller.miner_id == miner_id
    record = miner_store.find(connection, miner_id) if mine else None
    if record is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    return record


def on_the_wire(record: OrderRecord) -> answers.Order:
    """Return an order as it is in the answer to a heartbeat."""
    order = record.order
    return answers.Order(
        order_id=record.order_id,
        order=order.kind.value,
        gpu=order.gpu,
        seconds=order.seconds,
        model=order.model,
    )


async def orders_for(context: Context, miner_id: str) -> list[answers.Order]:
    """Return at most one order, for a busy miner. A miner with a free slot gets the job itself, and fetches the model for it."""
    port = context.dispatcher.connected(miner_id)
    if port is None or port.room.slots > 0:
        return []
    for service, model in await _waited_for(context):
        offer = port.capabilities["services"].get(service)
        if offer is not None and _could_fetch(context, offer, model):
            return [answers.Order(order="fetch_model", model=model)]
    return []


def _could_fetch(context: Context, offer: dict[str, Any], model: str) -> bool:
    entry = context.catalogue.get(model)
    return (
        offer["downloadable"]
        and entry is not None
        and entry.repository is not None
        and model not in offer["models"]
        and model not in offer["withheld"]
    )


async def _waited_for(context: Context) -> list[tuple[str, str]]:
    cached = context.caches.awaited_models
    now = context.clock()
    if cached is None or now - cached[0] >= WAITED_FOR_CACHE_SECONDS:
        cached = (now, await context.database.read(queue.models_waited_for, MAX_MODELS))
        context.caches.awaited_models = cached
    return cached[1]
