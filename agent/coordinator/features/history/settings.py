"""Settings of the charts of GPUs."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class HistorySettings(Section):
    """How often miners' GPUs are sampled for charts, in the table `coordinator`."""

    gpu_sample_seconds: Annotated[int, Field(ge=60, le=3600)] = 300
    """Time between two samples of a machine's GPUs, which are stored for 24 hours. A shorter time takes more of the database."""


SETTINGS: Final = {"coordinator.*": HistorySettings}
