"""Settings of what machines are expected to earn."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class OutlookSettings(Section):
    """When the coordinator says what a machine like another one earns. These settings are in the table `coordinator`."""

    outlook_days: Annotated[int, Field(ge=1, le=90)] = 7
    """Days whose paid jobs count: a week has all days of the week, and is short enough for what changes."""
    outlook_jobs: Annotated[int, Field(ge=1)] = 20
    """The least number of paid jobs of like machines. With fewer, a single large job would decide."""
    outlook_hours: Annotated[float, Field(gt=0)] = 24
    """The least number of hours in which like machines were online, in all: a day and a night."""
    outlook_machines: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many like machines count at most, those that were last seen, so that the question stays cheap in a large network."""


SETTINGS: Final = {"coordinator.*": OutlookSettings}
