"""The settings of the agent, as they are declared. `agent.configuring.reading` reads them. Those of the miner and of features are in their `settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import HomePath, Section, extensible
from agent.settings.artifact_store import ArtifactSettings
from agent.settings.coordinator import (
    CoordinatorSettings,
    DatabaseSettings,
)


class LogSettings(Section):
    """The log, which the agent writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest severity that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON otherwise (systemd, containers)."""
    file: Literal["auto", "all", "problems"] = "auto"
    """What `logs/agent.log` in the data directory stores, which `aitbc-agent logs` shows. `auto`: all lines, but only warnings and errors of a
    service, whose lines systemd's journal has."""
    max_file: Annotated[Bytes, Field(ge=2**16)] = Bytes("4Mi")
    """Size at which that file becomes `agent.log.1`, and a new one begins. Four mebibytes are some 20,000 lines."""
    old_files: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of these older files; the oldest is deleted."""


@extensible("")
class Settings(Section):
    """All settings. Load them with `agent.configuring.reading.load_settings`, which explains errors."""

    data_dir: HomePath = Field(default_factory=lambda: platformdirs.user_data_path("aitbc-agent"))
    """Data directory: keys, database, artifacts and unsent results, which must not be lost."""
    models_dir: HomePath = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc") / "models")
    """Directory of the downloaded models, shared by all agents of a user; they can be downloaded again."""
    cache_dir: HomePath = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc"))
    """Directory of other files that can be created again: environments of engines and of Python models."""
    coordinator: CoordinatorSettings = CoordinatorSettings()
    database: DatabaseSettings = DatabaseSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    log: LogSettings = LogSettings()

    @property
    def agent_file(self) -> Path:
        """The file in which a running agent publishes its URL and its keys (mode 0600)."""
        return self.data_dir / "agent.json"
