"""The audits that clients request: which can prove something, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.coordinator.features.audits.fields import AuditPrice
from agent.coordinator.hooks import Errors, RequestedJob, Surcharge
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import queue
from agent.coordinator.store.database import Connection
from agent.core.feasibility import KnownMiner, checks
from agent.core.matching import Restrictions
from agent.settings import CoordinatorSettings
from runners.api import ServiceDefinition


def check_options(request: RequestedJob, errors: Errors) -> None:
    """Refuse an audit that can prove nothing. The check reads a valid request, so other errors come first."""
    if request.options.audited and not errors and (reason := _unprovable(request)):
        errors["audited"] = reason


def _unprovable(request: RequestedJob) -> str | None:
    """Return why an audit of a valid request can prove nothing, and what to do; None if it can."""
    if request.opaque is not None:
        return request.opaque.unprovable
    service = request.service
    if service.comparer is None:
        return f"{service.service_id} has results that cannot be compared; remove `audited`"
    reason = None if service.unprovable is None else service.unprovable(request.parameters)
    return reason and f"an audit of this request can prove nothing. {reason} Or remove `audited`."


def surcharge(request: RequestedJob) -> Surcharge | None:
    """Return the price of the audit, if one is requested."""
    percent = _percent(request.settings, request.service) if request.options.audited else None
    return None if percent is None else Surcharge("audited", "the audit", percent)


def restrict(request: RequestedJob, restrictions: Restrictions) -> Restrictions:
    """Mark a job whose audit is requested."""
    return replace(restrictions, audited=True) if request.options.audited else restrictions


def options_of(connection: Connection, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return that jobs are audited, as an option for other jobs."""
    records = job_store.find_many(connection, job_ids)
    return {
        job_id: {"audited": True}
        for job_id, record in records.items()
        if queue.restrictions_of(record).audited
    }


def describe_service(
    settings: CoordinatorSettings, service: ServiceDefinition, miners: Sequence[KnownMiner]
) -> Mapping[str, Any]:
    """Return the field about the price of audits."""
    percent = _percent(settings, service)
    if percent is None or service.comparer is None:
        return {"audit": None}
    auditors = sum(miner.online and checks(miner, service.service_id) for miner in miners)
    return {"audit": AuditPrice(percent=percent, compares=service.comparer.compares, auditors=auditors)}


def _percent(settings: CoordinatorSettings, service: ServiceDefinition) -> float | None:
    """Return the price of an audit in percent of the job's price, None if no runner of the service compares results."""
    if service.comparer is None:
        return None
    audits = settings.audits
    return {
        "prefill": audits.prefill_percent,
        "window": audits.window_percent,
        "rerun": audits.rerun_percent,
    }[service.comparer.cost]
