"""The only functions that read the settings.

Precedence, lowest first: defaults, the TOML file (`--config`, or `agent.toml` in the data directory), environment variables
(`AITBC_`, with `__` for nesting), flags. Settings are frozen after loading. An unknown key is an error that suggests the nearest
known one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.configuring.description import Setting, describe, sections
from agent.configuring.errors import InvalidSettings, Origin
from agent.configuring.explaining import Declared, explain
from agent.configuring.sources import (
    EnvironmentValues,
    SettingsFile,
    Sources,
    parse_file,
    read_environment,
    read_file,
)
from agent.core.errors import ConfigurationError
from agent.settings import Settings


@dataclass(frozen=True)
class SettingsReading:
    """Settings, and by key the origin of each one that is not a default."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path
    """The file that was read, if it exists."""
    flags: Mapping[str, Any]
    """The values from the command line."""

    def with_file(self, content: bytes) -> SettingsReading:
        """Read the settings again as if the file had this content. Raises `ConfigurationError` as `read_settings` does."""
        return _read(self.flags, parse_file(self.file, content))


def load_settings(config: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings.

    `config` is a TOML file; without one, `agent.toml` in the data directory is read if it exists. `flags` are nested values
    from the command line, which take precedence over all other sources. Raises `ConfigurationError`, namely `InvalidSettings`
    with all errors if settings are invalid.
    """
    return read_settings(config, flags).settings


def read_settings(config: Path | None = None, flags: dict[str, Any] | None = None) -> SettingsReading:
    """Read the settings like `load_settings`, with the origin of each value."""
    flags = flags or {}
    path = config or _default_config(flags)
    if config is not None and not config.is_file():
        raise ConfigurationError(f"There is no configuration file {config}.")
    return _read(flags, read_file(path))


def _read(flags: Mapping[str, Any], file: SettingsFile) -> SettingsReading:
    settings = settings_by_key()
    sources = Sources(flags, read_environment(settings), file)
    loaded = _validated(sources)
    origins = {key: sources.origin(tuple(key.split("."))) for key in settings}
    return SettingsReading(
        loaded,
        {key: origin for key, origin in origins.items() if origin.source != "default"},
        file.path,
        flags,
    )


def settings_by_key() -> dict[str, Setting]:
    """Return all settings by their dotted names."""
    return {setting.key: setting for setting in describe(Settings)}


def _validated(sources: Sources) -> Settings:
    # Errors of reading are reported together with those of the values, so that one attempt shows all of them.
    errors = [*sources.environment.errors, *sources.file.errors]
    try:
        loaded = Settings(**sources.merged())
    except ValidationError as error:
        names = [name for name, _ in sections(Settings) if name]
        declared = Declared(settings_by_key(), names)
        raise InvalidSettings([*errors, *explain(error, sources.origin, declared)]) from None
    if errors:
        raise InvalidSettings(errors)
    return loaded


def check_values(values: dict[str, Any]) -> Settings:
    """Return the settings with these nested values and defaults for all others, without this machine's file and environment.

    Raises `InvalidSettings` as `read_settings` does.
    """
    return _validated(Sources({}, EnvironmentValues(), SettingsFile(Path("agent.toml"), values=values)))


def _default_config(flags: dict[str, Any]) -> Path:
    # Read by hand: the file that is to be read lies in the directory that this variable names.
    named = {name.upper(): value for name, value in os.environ.items()}.get("AITBC_DATA_DIR")
    data_dir = (
        flags.get("data_dir")
        or named
        or Settings.model_fields["data_dir"].get_default(call_default_factory=True)
    )
    return Path(data_dir).expanduser() / "agent.toml"
