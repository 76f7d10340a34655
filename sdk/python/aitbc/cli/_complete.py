"""What the shell's completion offers: jobs, offers and models of the coordinator, if it answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

from aitbc._client import AITBCClient
from aitbc.errors import AITBCError

PATIENCE = 0.7
"""Seconds that the coordinator may be silent. A shell that hangs is worse than one that offers nothing."""
_SHOWN = 50

Offered = list[tuple[str, str]]
"""What can be written, each with a word on what it is."""


def jobs(context: typer.Context, incomplete: str) -> Offered:
    """The newest jobs."""
    return _asked(
        context,
        incomplete,
        lambda client: (
            (job.job_id, f"{job.status} {job.type or ''}".strip())
            for job in client.jobs.list(limit=_SHOWN).jobs
        ),
    )


def offers(context: typer.Context, incomplete: str) -> Offered:
    """The cheapest offers."""
    return _asked(
        context,
        incomplete,
        lambda client: (
            (offer.offer_id, f"{offer.job_type or ''} {offer.price or ''}".strip())
            for offer in client.marketplace.offers(limit=_SHOWN).offers
        ),
    )


def services(context: typer.Context, incomplete: str) -> Offered:
    """The services."""
    return _asked(
        context,
        incomplete,
        lambda client: (
            (str(service.get("service_id")), str(service.get("name", "")))
            for service in client.registry.services().services
        ),
    )


def models_of(service_id: str) -> Callable[[typer.Context, str], Offered]:
    """The models that a service knows."""

    def models(context: typer.Context, incomplete: str) -> Offered:
        return _asked(
            context,
            incomplete,
            lambda client: ((str(name), "") for name in client.registry.get(service_id).get("models", ())),
        )

    return models


def _asked(
    context: typer.Context, incomplete: str, ask: Callable[[AITBCClient], Iterable[tuple[str, str]]]
) -> Offered:
    given = context.find_root().params
    try:
        with AITBCClient(given.get("api_key"), given.get("base_url"), timeout=PATIENCE, retries=0) as client:
            return [found for found in ask(client) if found[0].startswith(incomplete)]
    except AITBCError:
        # There is nobody to tell: the shell takes whatever is printed for something to be written.
        return []
