"""Webhooks: messages about jobs to addresses that clients name."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Opening
from agent.coordinator.features.webhooks import metrics, options, routes, store
from agent.coordinator.features.webhooks.sender import WebhookSender
from agent.coordinator.features.webhooks.settings import WebhookSettings
from agent.coordinator.feed.feed import CHANGES
from agent.coordinator.hooks import Hooks
from agent.sections import section_of


def _open(opening: Opening) -> WebhookSender:
    sender = WebhookSender(
        opening.database, section_of(opening.settings.coordinator, WebhookSettings), opening.clock
    )
    opening.bus.on_signal(CHANGES, sender.wake)
    return sender


FEATURE: Final = Feature(
    name="webhooks",
    routers=(routes.router,),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    part=WebhookSender,
    open=_open,
    hooks=Hooks(
        check_request=options.check_request,
        jobs_submitted=options.jobs_submitted,
        describe_jobs=options.describe_jobs,
        jobs_changed=options.jobs_changed,
        data_deleted=store.forget,
    ),
)
