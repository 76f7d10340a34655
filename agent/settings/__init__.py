"""All settings of the agent, and the one place that reads them.

Defaults < TOML file (`--config`, else `agent.toml` in the data directory) < environment (`AITBC_`, `__` for nesting) <
flags. Settings are frozen after loading; an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agent.core.errors import ConfigurationError
from agent.settings._section import Section
from agent.settings.coordinator import (
    CoordinatorSettings,
    DatabaseSettings,
    RateLimitSettings,
    StreamSettings,
    WebhookSettings,
)
from agent.settings.miner import InputSettings, MinerSettings, PauseSettings, RunnersSettings

__all__ = [
    "CoordinatorSettings",
    "DatabaseSettings",
    "InputSettings",
    "LogSettings",
    "MinerSettings",
    "PauseSettings",
    "RateLimitSettings",
    "RunnersSettings",
    "Settings",
    "StreamSettings",
    "WebhookSettings",
    "known_keys",
    "load_settings",
]


class LogSettings(Section):
    """What the agent logs, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON elsewhere (systemd, containers)."""


class Settings(BaseSettings):
    """All settings. Load them with `load_settings`, which explains what is wrong with bad ones."""

    model_config = SettingsConfigDict(
        env_prefix="AITBC_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("aitbc-agent"))
    """Identity, database, artifacts and unsent results: what must not be lost."""
    models_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc") / "models")
    """Models on disk, shared by every agent of a user; can be downloaded again."""
    cache_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc"))
    """Other things that can be made again: environments of Python models."""
    coordinator: CoordinatorSettings = CoordinatorSettings()
    database: DatabaseSettings = DatabaseSettings()
    miner: MinerSettings = MinerSettings()
    runners: RunnersSettings = RunnersSettings()
    log: LogSettings = LogSettings()

    _toml_file: Path | None = PrivateAttr(default=None)

    @property
    def agent_file(self) -> Path:
        """Where a running agent says how to reach it (mode 0600)."""
        return self.data_dir / "agent.json"


# Variables of the SDK, which share our prefix without being settings of the agent.
_FOREIGN_VARIABLES = frozenset({"AITBC_API_KEY", "AITBC_BASE_URL"})
# Settings whose keys are the owner's.
_OPEN_SETTINGS = ("AITBC_MINER__PRICES__", "AITBC_MINER__GPUS__")


def load_settings(config: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings.

    `config` is a TOML file; without one, `agent.toml` in the data directory is read if it is there. `flags` are nested
    values from the command line and win over everything. Raises `ConfigurationError` with one line per fault.
    """
    flags = flags or {}
    _check_environment()
    path = config or _default_config(flags)
    if config is not None and not config.is_file():
        raise ConfigurationError(f"There is no configuration file {config}.")
    try:
        return _settings_class(path)(**flags)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(fault) for fault in error.errors())) from None
    except ValueError as error:  # TOML that does not parse, JSON in an environment variable that does not
        raise ConfigurationError(f"The configuration cannot be read: {error}") from None


def _check_environment() -> None:
    known = {f"AITBC_{key.replace('.', '__').upper()}" for key in known_keys()} | _FOREIGN_VARIABLES
    for name in sorted(os.environ):
        if name.startswith("AITBC_") and name not in known and not name.startswith(_OPEN_SETTINGS):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"The environment variable {name} names no setting.{hint}")


def _default_config(flags: dict[str, Any]) -> Path:
    data_dir = flags.get("data_dir") or _DataDirectory().data_dir
    return Path(data_dir) / "agent.toml"


class _DataDirectory(BaseSettings):
    """Only the data directory, which must be known before the file in it can be read."""

    model_config = SettingsConfigDict(env_prefix="AITBC_", extra="ignore")
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("aitbc-agent"))


def _settings_class(path: Path) -> type[Settings]:
    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    return Loaded


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    return f"{key}: there is no such setting." + (f" Did you mean {near[0]}?" if near else "")


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted names of all settings."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
