"""The units that a run meters: its miner reports them, and they are limited by the time that has passed and by the request."""

from __future__ import annotations

from decimal import Decimal

import orjson

from agent.coordinator.operations.context import Context
from agent.coordinator.store.jobs import JobRecord, is_opaque
from agent.core.values.quantities import UNIT_DECIMALS


def most_units(context: Context, record: JobRecord, seconds: float) -> Decimal | None:
    """Return how many units a run can meter in this time, or None if neither the time nor the request limits them."""
    definition = context.catalogue.services[record.service]
    limits = []
    if definition.unit_is_time:
        limits.append(round(Decimal(max(0.0, seconds)), UNIT_DECIMALS))
    if definition.units is not None:
        spec = orjson.loads(record.spec)
        requested = None if is_opaque(spec) else definition.units(spec["parameters"])
        if requested is not None:
            limits.append(round(requested, UNIT_DECIMALS))
    return min(limits, default=None)


def metered(context: Context, record: JobRecord, reported: Decimal | None, now: float) -> str:
    """Return the units of a run after a report by its miner, limited by `most_units`.

    Reports after the lease's last moment do not count.
    """
    lease = record.life.lease
    if reported is None or lease is None or now > lease.last_moment:
        return record.units
    limit = most_units(context, record, now - lease.assigned_at)
    return str(reported if limit is None else min(reported, limit))
