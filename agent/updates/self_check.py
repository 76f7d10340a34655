"""What a version finds out about itself on this machine, in a scratch data directory. The version that it is to replace asks for it."""

from __future__ import annotations

import time
from typing import Final, Literal

from agent.miner.data_dir import DataDirectory
from agent.miner.doctor import examine
from agent.miner.selftest.services import ServiceJobs
from agent.sections import section_of
from agent.settings import Settings
from agent.updates.settings import UpdateSettings

CheckName = Literal["doctor", "jobs"]
_SHARE: Final = 0.8
"""The share of the time limit after which services that had no turn are left out."""


async def find_problems(settings: Settings, name: CheckName) -> dict[str, str]:
    """Return the faults that a check finds, in words, by what they are about."""
    if name == "doctor":
        return {
            diagnostic.id: diagnostic.message
            for diagnostic in await examine(settings)
            if diagnostic.severity == "fault"
        }
    until = time.monotonic() + _SHARE * section_of(settings, UpdateSettings).try_seconds
    directory = DataDirectory(settings.data_dir.absolute() / "miner")
    directory.lock()
    try:
        jobs = ServiceJobs(
            settings, directory=directory.directory, cards=(), until=until, on_step=lambda _text: None
        )
        return {check.name: check.message for check in await jobs.checks() if check.outcome == "fault"}
    finally:
        directory.unlock()
