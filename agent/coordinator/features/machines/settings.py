"""Settings of owners' commands."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class MachineSettings(Section):
    """Limits of owners' commands, in the table `coordinator`."""

    max_commands_per_miner: Annotated[int, Field(ge=1, le=1000)] = 100
    """Maximum number of commands that wait for one miner. Each heartbeat carries them until the miner has acknowledged them."""


SETTINGS: Final = {"coordinator.*": MachineSettings}
