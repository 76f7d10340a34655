"""The command's root: its groups, and what happens to errors.

A command's module is imported when that command is run, or when all are listed: together they take a second of
processor time, which a health check every half minute or a script of ten commands would pay each time.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from agent import __version__
from agent.core.errors import AgentError
from aitbc.errors import AITBCError

COMMANDS: Final = {
    "start": "serve.start",
    "coordinator": "serve.coordinator",
    "enroll": "enroll.enroll",
    "login": "login.login",
    "status": "status.status",
    "doctor": "doctor.doctor",
    "health": "health.health",
    "earnings": "earnings.earnings",
    "bench": "bench.bench",
    "pause": "pause.pause",
    "resume": "pause.resume",
    "drain": "pause.drain",
    "stop": "stop.stop",
    "fsck": "fsck.fsck",
    "backup": "backup.backup",
    "restore": "backup.restore",
    "accounts": "accounts.app",
    "keys": "keys.app",
    "miners": "miners.app",
    "models": "models.app",
    "receipts": "receipts.app",
    "config": "config.app",
    "service": "service.app",
}
"""Each command, and what it is in which module of `agent.cli.commands`: a function, or the application of a group."""


class _Commands(TyperGroup):
    """Finds commands in `COMMANDS`. The library's own types differ from version to version, so none are named."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is the library's
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(".")
        found = getattr(import_module(f"agent.cli.commands.{module}"), name)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command(cmd_name)(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="aitbc-agent",
    help="Turn this machine into a worker that earns.",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"aitbc-agent {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Turn this machine into a worker that earns."""


def main() -> None:
    """Run the command. An error that we explain ends with its exit code, mostly 1, and one paragraph on standard error."""
    try:
        app(prog_name="aitbc-agent")
    except (AgentError, AITBCError, OSError) as error:
        typer.echo(f"aitbc-agent: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, AgentError) else 1)
