"""Settings of webhooks."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class WebhookSettings(Section):
    """Messages to clients' own servers about finished jobs (docs/how-to/webhooks.md)."""

    allow_http: bool = False
    """Whether `http://` URLs are allowed. Off by default: anyone on the network path could read and suppress the messages."""
    allow_private: bool = False
    """Whether messages are sent to private, loopback and link-local addresses. Off by default: strangers could make requests
    inside your network."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15
    """Time limit of one attempt, from the name lookup to the response. The Standard Webhooks specification recommends 15 to 30."""
    retry_delays: tuple[Annotated[float, Field(gt=0, le=604_800)], ...] = (
        5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
    )  # fmt: skip
    """Delays after failed attempts, in seconds; each is lengthened by up to a fifth. There is one more attempt than there are
    delays: ten attempts within about three and a half days, as the specification recommends, so that a receiver may be down
    over a weekend."""
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 64
    """Attempts in progress at the same time."""
    max_per_account: Annotated[int, Field(ge=1)] = 16
    """Attempts in progress for one account, so that its slow receivers do not delay the messages of others."""
    max_per_host: Annotated[int, Field(ge=1)] = 4
    """Attempts in progress from one account to one host."""
    secret_overlap_seconds: Annotated[float, Field(ge=0)] = 86_400
    """How long messages are also signed with the old secret after a new one was created."""
    retention_seconds: Annotated[float, Field(gt=0)] = 30 * 86_400
    """How long finished messages are retained."""


SETTINGS: Final = {"coordinator.webhooks": WebhookSettings}
