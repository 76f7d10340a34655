"""Writes the manual pages of the commands from their help."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any, Final

import typer

FILES: Final = {
    "aitbc-agent": {
        "/etc/aitbc/agent.toml": "Settings of the system service.",
        "/var/lib/aitbc-agent": "Data of the system service: keys, database and unsent results, which must not be lost.",
        "/var/cache/aitbc-agent": "Models and engines of the system service, which can be downloaded again.",
        "~/.local/share/aitbc-agent": "Data of an agent that a user starts.",
    },
    "aitbc": {},
}
OTHER: Final = {"aitbc-agent": "aitbc(1), systemctl(1)", "aitbc": "aitbc-agent(1)"}


def page(program: str, module: str, version: str, moment: datetime) -> str:
    """Return the page of a program, whose commands `app` in a module has."""
    app = (
        import_module(f"{module}.application").app if program == "aitbc-agent" else import_module(module).app
    )
    command: Any = typer.main.get_command(app)
    return "\n".join([*_lines(program, command, version, moment), ""])


def compressed(text: str) -> bytes:
    """Return a text as gzip writes it, without the time."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _lines(program: str, command: Any, version: str, moment: datetime) -> Iterator[str]:
    yield f'.TH {program.upper()} 1 "{moment:%Y-%m-%d}" "{program} {version}" "AITBC"'
    yield ".SH NAME"
    yield f"{_text(program)} \\- {_text(command.help.rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_text(program)}"
    yield "COMMAND [OPTION]... [ARGUMENT]..."
    yield ".SH COMMANDS"
    yield f'.RB \\(lq {_text(program)} " COMMAND \\-\\-help" \\(rq'
    yield "shows all options of a command."
    for name in command.list_commands(None):
        yield from _item(name, command.get_command(None, name).help)
    if FILES[program]:
        yield ".SH FILES"
        for path, meaning in FILES[program].items():
            yield from _item(path, meaning)
    yield ".SH SEE ALSO"
    yield OTHER[program]


def _item(name: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(name)}"
    yield _text(meaning)


def _text(text: str) -> str:
    """Return text as roff prints it unchanged, with names between backticks in bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped)
    return f"\\&{bold}" if bold.startswith((".", "'")) else bold
