"""Settings of miners' self-tests."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class SelftestRequirement(Section):
    """Whether miners that join must have tested themselves, in the table `coordinator`."""

    require_selftest: bool = False
    """Whether a new miner must have passed a self-test (`aitbc-agent selftest`). It keeps out faulty machines, but not dishonest ones,
    since each miner reports its own result."""
    selftest_days: Annotated[float, Field(gt=0, le=3650)] = 7
    """How many days old that self-test may be."""


SETTINGS: Final = {"coordinator.*": SelftestRequirement}
