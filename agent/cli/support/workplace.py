"""What all parts of a bundle work with, found even on a machine whose settings cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import platformdirs

from agent.cli.options import reading_from
from agent.cli.support.settings import SupportSettings
from agent.configuring.reading import SettingsReading
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from agent.settings import Settings

SERVICE_DATA: Final = (Path("/var/lib/aitbc-agent"), Path("/var/lib/aitbc-coordinator"))
Content: TypeAlias = str | Mapping[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Workplace:
    """An agent's directory and settings. Without valid `reading`, `settings` are the defaults with this directory; `fault` says why."""

    data_dir: Path
    settings: Settings
    limits: SupportSettings
    reading: SettingsReading | None
    config: Path | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle. `collect` may block and may fail: that concerns this file alone. `versions`: it has numbers that look like addresses."""

    name: str
    meaning: str
    collect: Callable[[Workplace], Content]
    versions: bool = False


def find(data_dir: Path | None, config: Path | None) -> Workplace:
    """Return the agent of these options; without them that of this user or else of a service of this machine. Raises nothing."""
    try:
        # An owner who types the command means the agent that there is, and may not know where a service has its data.
        if data_dir is None and config is None and not reading_from(None).settings.data_dir.exists():
            data_dir = next((path for path in SERVICE_DATA if path.exists()), None)
        reading = reading_from(data_dir, config)
    except (ConfigurationError, OSError) as error:
        named = os.environ.get("AITBC_DATA_DIR")
        directory = data_dir or (Path(named) if named else platformdirs.user_data_path("aitbc-agent"))
        settings = Settings.model_construct(data_dir=directory.expanduser().absolute())
        return Workplace(settings.data_dir, settings, SupportSettings(), None, config, str(error))
    settings = reading.settings
    return Workplace(
        settings.data_dir.absolute(), settings, section_of(settings, SupportSettings), reading, config
    )
