"""Shell completion: jobs, offers and models of the coordinator, if it responds immediately."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

from aitbc._client import AITBCClient
from aitbc.errors import AITBCError

TIMEOUT_SECONDS = 0.7
"""Seconds that the coordinator may take. A shell that hangs is worse than one that completes nothing."""
_SHOWN = 50

Completions = list[tuple[str, str]]
"""Values with their descriptions."""


Completion = Callable[[typer.Context, str], Completions]


def _completion(query: Callable[[AITBCClient], Iterable[tuple[str, str]]]) -> Completion:
    """Return the completion with what a query yields."""

    def complete(context: typer.Context, incomplete: str) -> Completions:
        # A completion runs before the callback that stores these options for the commands.
        params = context.find_root().params
        try:
            with AITBCClient(
                params.get("api_key"), params.get("base_url"), timeout=TIMEOUT_SECONDS, retries=0
            ) as client:
                return [candidate for candidate in query(client) if candidate[0].startswith(incomplete)]
        except AITBCError:
            # The shell would offer an error message as a completion.
            return []

    return complete


jobs = _completion(
    lambda client: (
        (job.job_id, f"{job.status} {job.type or ''}".strip()) for job in client.jobs.list(limit=_SHOWN).jobs
    )
)
"""The newest jobs."""

offers = _completion(
    lambda client: (
        (offer.offer_id, f"{offer.job_type or ''} {offer.price or ''}".strip())
        for offer in client.marketplace.offers(limit=_SHOWN).offers
    )
)
"""The cheapest offers."""

services = _completion(
    lambda client: (
        (str(service.get("service_id")), str(service.get("name", "")))
        for service in client.registry.services().services
    )
)


def models_of(service_id: str) -> Completion:
    """Return the completion of a service's models."""
    return _completion(
        lambda client: ((str(name), "") for name in client.registry.get(service_id).get("models", ()))
    )
