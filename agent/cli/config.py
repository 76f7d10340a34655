"""`aitbc-agent config`: what the settings are."""

from __future__ import annotations

import json
from typing import Any

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from

app = typer.Typer(help="Settings.", no_args_is_help=True)

SECRET = frozenset({"enrolment_token"})


@app.command("show")
def show(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every setting with its value, after file, environment and flags."""
    values = _hidden(settings_from(data_dir, config).model_dump(mode="json"))
    if as_json:
        print_json(values)
        return
    for key, value in _flat(values):
        typer.echo(f"{key} = {json.dumps(value)}")


def _hidden(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _hidden(value) if isinstance(value, dict) else "***" if name in SECRET and value else value
        for name, value in values.items()
    }


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
