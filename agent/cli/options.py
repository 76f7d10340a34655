"""Options shared by several commands, and the settings that follow from them."""

from __future__ import annotations

import json
import sys
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
Enroll = Annotated[
    str | None,
    typer.Option(
        "--enroll",
        help="Enrolment token, needed the first time. @FILE reads it from a file, - asks for it: other users see a command's arguments.",
    ),
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


def secret_from(argument: str | None, title: str) -> str | None:
    """Return a secret: `@FILE` stands for a file's content, `-` for what the user types, or for standard input if that is no terminal.

    Raises `typer.BadParameter`.
    """
    if argument == "-":
        return typer.prompt(title).strip() if sys.stdin.isatty() else sys.stdin.readline().strip()
    if argument is None or not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{argument[1:]} cannot be read: {error}") from None


def print_json(value: Any) -> None:
    """Print one JSON document to standard output. It may contain answers of the coordinator."""
    typer.echo(json.dumps(value, indent=2, default=plain))


def print_result(value: Any, words: str, *, as_json: bool) -> None:
    """Print what a command has done: as JSON, or in words."""
    if as_json:
        print_json(value)
    else:
        typer.echo(words)


def plain(value: Any) -> Any:
    """Return a value that JSON does not have as one that it has."""
    return dict(value) if isinstance(value, Mapping) else str(value)
