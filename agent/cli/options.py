"""Options shared by several commands, and the settings that follow from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.configuring.reading import SettingsReading, read_settings
from agent.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data directory with keys, database and results.", show_default=False),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", show_default="DATA_DIR/agent.toml")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings_from(data_dir: Path | None, config: Path | None = None, **flags: dict[str, Any]) -> Settings:
    """Read the settings with flags on top. Flags that are None are ignored."""
    return reading_from(data_dir, config, **flags).settings


def reading_from(
    data_dir: Path | None, config: Path | None = None, **flags: dict[str, Any]
) -> SettingsReading:
    """Read the settings like `settings_from`, with the origin of each value."""
    sections: dict[str, Any] = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    sections = {section: values for section, values in sections.items() if values}
    if data_dir is not None:
        sections["data_dir"] = data_dir.absolute()
    return read_settings(config, sections)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output. It may contain answers of the coordinator."""
    typer.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
