"""`aitbc-agent config`: what the settings are, where they come from, and what is wrong with them."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.settings import Fault, Origin, Reading, Settings, SettingsRefused
from agent.settings.description import Setting, describe, written

app = typer.Typer(help="Settings: what they are, and what is wrong with them.", no_args_is_help=True)

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
    """Whether the settings can be used, file and environment together; every fault at once. Exit code 1 if there is one."""
    try:
        reading = reading_from(data_dir, file)
    except SettingsRefused as refused:
        _tell(refused, as_json)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"valid": True, "file": _file(reading), "faults": []})
        return
    where = (
        f"{reading.file} is right"
        if reading.file.is_file()
        else f"There is no {reading.file}: all is as it should be"
    )
    count = len(reading.origins)
    typer.echo(
        f"{where}; {count} setting{'' if count == 1 else 's'} given (`aitbc-agent config show --changed`)."
    )


def _file(reading: Reading) -> str | None:
    return str(reading.file) if reading.file.is_file() else None


def _tell(refused: SettingsRefused, as_json: bool) -> None:
    if as_json:
        print_json({"valid": False, "faults": [_fault(fault) for fault in refused.faults]})
        return
    for fault in refused.faults:
        subject = "" if fault.key == fault.origin.place else fault.subject
        typer.echo(f"{fault.origin}: {subject}{fault.message}")
        if fault.suggestion:
            typer.echo(f"  {fault.suggestion}")
    count = len(refused.faults)
    typer.echo(f"{count} fault{'s' if count > 1 else ''}.")


def _fault(fault: Fault) -> dict[str, Any]:
    return {
        "key": fault.key,
        "message": fault.message,
        "suggestion": fault.suggestion,
        **asdict(fault.origin),
    }


@app.command("show")
def show(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not left at its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting with its value, after file, environment and flags, and where it comes from."""
    reading = reading_from(data_dir, config)
    rows = [
        (setting, value, reading.origins.get(setting.key, _DEFAULT))
        for setting, value in _values(reading)
        if not changed or setting.key in reading.origins
    ]
    if as_json:
        plain = [_row(reading, setting, origin) for setting, _, origin in rows]
        print_json({"file": _file(reading), "settings": plain})
        return
    for setting, value, origin in rows:
        shown = "(not set)" if value is None else written(_masked(setting, value))
        typer.echo(f"{setting.key} = {shown}" + ("" if origin.source == "default" else f"    # {origin}"))


def _values(reading: Reading) -> list[tuple[Setting, Any]]:
    return [(setting, _at(reading.settings, setting.key)) for setting in describe(Settings)]


def _at(settings: Settings, key: str) -> Any:
    return reduce(getattr, key.split("."), settings)


def _row(reading: Reading, setting: Setting, origin: Origin) -> dict[str, Any]:
    """A setting for programs; sizes are bytes, durations seconds."""
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
    """A secret setting without what is secret of it: of a URL the password and the query, else all."""
    if not setting.secret or value is None:
        return value
    parts = urlsplit(str(value))
    if not parts.scheme:
        return MASK
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
