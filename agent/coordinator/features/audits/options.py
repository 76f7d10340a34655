"""The audits that clients request: which can prove something, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.coordinator.features.audits.fields import AuditOptions
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.hooks import CheckedRequest, Surcharge
from agent.coordinator.job_fields import fields_of
from agent.core.feasibility import KnownMiner, checks
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings
from aitbc.answers.registry import AuditPrice
from runners.api import ServiceDefinition


def check_request(request: CheckedRequest) -> None:
    """Mark a job whose audit is requested, and name its price. Refuse an audit that can prove nothing."""
    if not fields_of(request.options, AuditOptions).audited:
        return
    # The check reads a valid request, so other errors come first.
    if not request.errors and (reason := _unprovable(request)):
        request.errors["audited"] = reason
    # Without a comparer there is no price, and the error above refuses the request.
    percent = _percent(request.settings, request.service)
    if percent is not None:
        request.surcharges.append(Surcharge("audited", "the audit", percent))
    request.restrictions = replace(request.restrictions, audited=True)


def _unprovable(request: CheckedRequest) -> str | None:
    """Return why an audit of a valid request can prove nothing, and what to do; None if it can."""
    if request.opaque is not None:
        return request.opaque.unprovable
    service = request.service
    if service.comparer is None:
        return f"{service.service_id} has results that cannot be compared; remove `audited`"
    reason = None if service.unprovable is None else service.unprovable(request.parameters)
    return reason and f"an audit of this request can prove nothing. {reason} Or remove `audited`."


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
    audits = section_of(settings, AuditSettings)
    return {
        "prefill": audits.prefill_percent,
        "window": audits.window_percent,
        "rerun": audits.rerun_percent,
    }[service.comparer.cost]
