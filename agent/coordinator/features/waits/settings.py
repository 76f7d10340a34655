"""Settings of waiting jobs."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class WaitSettings(Section):
    """When clients are notified. In the table `coordinator`."""

    notify_waiting_seconds: Annotated[float, Field(gt=0)] = 60
    """How long a job waits before its client is notified of the reason, once. Most jobs start within seconds; a minute is short enough
    for a client that watches."""


SETTINGS: Final = {"coordinator.*": WaitSettings}
