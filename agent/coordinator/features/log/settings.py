"""Settings of the transparency log."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class TransparencyLogSettings(Section):
    """Checkpoints of the log, and its witnesses. These settings are in the table `coordinator`."""

    log_checkpoint_seconds: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    """Interval at which new leaves of the log get their numbers and a signed checkpoint. A receipt has no proof before that; each
    checkpoint costs a synced write."""
    checkpoint_retention_seconds: Annotated[float, Field(ge=3600)] = 86_400
    """How long all signed checkpoints of the log are stored, up to two for each second with jobs. Of older ones, the last of each hour
    and those that witnesses have cosigned remain; a checkpoint confirms all before it."""
    witnesses: tuple[str, ...] = ()
    """Public keys (vkeys of type 4) of the witnesses whose cosignatures of checkpoints are accepted and served."""


SETTINGS: Final = {"coordinator.*": TransparencyLogSettings}
