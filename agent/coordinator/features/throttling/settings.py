"""Settings of throttling."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class ThrottlingSettings(Section):
    """When miners and accounts are slowed down, and how much. These settings are in the table `coordinator`."""

    releases_tolerated: Annotated[float, Field(ge=0)] = 5
    """How often within about an hour a miner may claim jobs again after returning some, before it pauses and its reputation falls.
    A machine that is shut down, paused or needed by its owner does so a few times a day."""
    release_pause_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """First pause of a miner that keeps returning jobs; each further pause is twice as long, up to an hour. Long enough for
    another miner to claim the job, and short for a miner with a temporary problem."""
    client_failures_tolerated: Annotated[float, Field(ge=1)] = 30
    """Number of failures that an account may cause within about ten minutes (wrong input, limits, timeouts) before only
    `slowed_jobs` of its jobs run at a time. A batch with a mistake in it is no attack; hundreds of such jobs keep miners
    from the work of others."""
    slowed_jobs: Annotated[int, Field(ge=1)] = 1
    """Number of concurrent jobs of an account that causes too many failures. With one job, the client can still find the mistake."""


SETTINGS: Final = {"coordinator.*": ThrottlingSettings}
