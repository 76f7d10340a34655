"""Settings of updates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.miner.schedules import ScheduleWindow
from agent.sections import HomePath, Section


class UpdateSettings(Section):
    """New versions of the agent, which `aitbc-agent update` installs (docs/how-to/install.md)."""

    automatic: Literal["off", "night", "idle"] = "off"
    """Whether the running agent updates itself: at `night`, or when it is `idle`. Off by default: the machine is yours."""
    channel: Literal["stable", "beta"] = "stable"
    """Which versions are installed: finished ones, or also those that are offered for testing."""
    index: str | None = Field(default=None, examples=["https://mirror.example.org/simple/"])
    """Package index with the releases, such as an operator's mirror. None: the one that uv or pip is configured for."""
    public_keys: tuple[str, ...] = ()
    """Public keys whose signature of a release is accepted, besides those that the agent contains; for an operator who signs releases."""
    directory: HomePath | None = Field(default=None, examples=["/srv/aitbc/versions"])
    """Directory of the installed versions. None: `versions` in `data_dir`. Every command has to know it at once, so name another one in the
    environment (AITBC_UPDATES__DIRECTORY)."""
    check_hours: Annotated[float, Field(gt=0, le=8760)] = 12
    """How often a running agent that updates itself looks for a new version."""
    night: ScheduleWindow = ScheduleWindow("02:00-05:00")
    """When `night` is, in local time."""
    idle_minutes: Annotated[float, Field(ge=0)] = 10
    """How long no job must have run before an `idle` agent restarts."""
    delay_minutes: Annotated[float, Field(ge=0)] = 60
    """A restart is delayed by a random time of up to so many minutes, so that the machines of a network do not restart at once."""
    install_seconds: Annotated[float, Field(gt=0)] = 3600
    """Time limit for the download and the installation of a version."""
    max_size: Bytes = Bytes("8Gi")
    """What a version may take on the disk. An index that sends more is refused."""
    try_seconds: Annotated[float, Field(gt=0)] = 600
    """Time limit for each check of a version in a scratch directory, before it takes over: its `doctor`, and jobs on the processor."""
    trial_seconds: Annotated[float, Field(gt=0)] = 900
    """How long a version may take, after it has taken over, to start, register and complete a job; else the former one returns. If no job is
    offered in this time, it must have started and registered."""
    stop_seconds: Annotated[float, Field(gt=0)] = 120
    """How long a version that did not pass may take to end its jobs before it is killed."""
