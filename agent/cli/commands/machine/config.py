"""`aitbc-agent config`: check the settings, and show their values and origins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.cli.terminal.activity import counted
from agent.configuring.description import Setting, describe, written
from agent.configuring.errors import InvalidSettings, Origin, SettingError
from agent.configuring.reading import SettingsReading
from agent.configuring.sources import read_file
from agent.miner.machine.priced_services import unknown_services
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings

app = typer.Typer(
    help="""Check and show settings.

Examples:
  aitbc-agent config check
  aitbc-agent config show --changed
""",
    no_args_is_help=True,
)

MASK = "***"
_DEFAULT = Origin("default")


@app.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="TOML file with settings.", show_default="DATA_DIR/agent.toml")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check the settings in the file and in the environment, and report all errors. Exit code 1: invalid."""
    try:
        reading = reading_from(data_dir, file)
    except InvalidSettings as error:
        _print_errors(error, as_json)
        raise typer.Exit(1) from None
    if errors := list(_unknown_services(reading)):
        _print_errors(InvalidSettings(errors), as_json)
        raise typer.Exit(1)
    if as_json:
        print_json({"valid": True, "file": _file(reading), "errors": []})
        return
    count = counted(len(reading.origins), "setting")
    if reading.file.is_file():
        typer.echo(f"{reading.file} is valid ({count}).")
    else:
        typer.echo(f"There is no {reading.file}. The other settings are valid ({count}).")


def _unknown_services(reading: SettingsReading) -> Iterator[SettingError]:
    """Yield an error for each price of a service that does not exist. It stops no agent, since a runner may just be uninstalled."""
    setting = "miner.prices"
    for service, advice in unknown_services(section_of(reading.settings, MinerSettings).prices).items():
        key = f"{setting}.{service}"
        origin = reading.origins[setting]
        if origin.source == "file":
            origin = replace(origin, line=read_file(reading.file).line(tuple(key.split("."))))
        yield SettingError(key, "there is no such service.", advice, origin)


def _file(reading: SettingsReading) -> str | None:
    return str(reading.file) if reading.file.is_file() else None


def _print_errors(invalid: InvalidSettings, as_json: bool) -> None:
    if as_json:
        print_json({"valid": False, "errors": [_as_json(error) for error in invalid.errors]})
        return
    for error in invalid.errors:
        subject = "" if error.key == error.origin.location else error.subject
        typer.echo(f"{error.origin}: {subject}{error.message}")
        if error.suggestion:
            typer.echo(f"  {error.suggestion}")
    typer.echo(f"{counted(len(invalid.errors), 'error')}.")


def _as_json(error: SettingError) -> dict[str, Any]:
    return {
        "key": error.key,
        "message": error.message,
        "suggestion": error.suggestion,
        **asdict(error.origin),
    }


@app.command("show")
def show(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show only settings that a file, a variable or a flag has set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting with its value and the file, variable or flag that set it."""
    reading = reading_from(data_dir, config)
    rows = [
        (setting, setting.value_in(reading.settings), reading.origins.get(setting.key, _DEFAULT))
        for setting in describe(Settings)
        if not changed or setting.key in reading.origins
    ]
    if as_json:
        plain = [_row(reading, setting, origin) for setting, _, origin in rows]
        print_json({"file": _file(reading), "settings": plain})
        return
    if not rows:
        typer.echo("All settings have their default values.", err=True)
    for setting, value, origin in rows:
        text = "(not set)" if value is None else written(_masked(setting, value))
        typer.echo(f"{setting.key} = {text}" + ("" if origin.source == "default" else f"    # {origin}"))


def _row(reading: SettingsReading, setting: Setting, origin: Origin) -> dict[str, Any]:
    """Return a setting for JSON. Sizes are in bytes, durations in seconds."""
    plain = reduce(
        lambda values, name: values[name], setting.key.split("."), reading.settings.model_dump(mode="json")
    )
    return {
        "key": setting.key,
        "value": _masked(setting, plain),
        "unit": setting.form.unit or None,
        **asdict(origin),
    }


def _masked(setting: Setting, value: Any) -> Any:
    """Mask a secret setting: the password and the query of a URL, the whole value otherwise."""
    if not setting.secret or value is None:
        return value
    parts = urlsplit(str(value))
    if not parts.scheme:
        return MASK
    # The last one separates: a password may contain the character itself.
    login, at, host = parts.netloc.rpartition("@")
    name, colon, _ = login.partition(":")
    return urlunsplit(
        (
            parts.scheme,
            f"{name}{colon}{MASK if colon else ''}{at}{host}",
            parts.path,
            MASK if parts.query else "",
            "",
        )
    )
