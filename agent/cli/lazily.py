"""The commands of `aitbc-agent`, each imported when it is asked for: together they take a second of processor time."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, Final

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command

COMMANDS: Final = {
    "start": "serve:start",
    "coordinator": "serve:coordinator",
}
