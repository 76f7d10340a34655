"""The root command: finds subcommands and reports errors.

A command's module is imported only when the command runs or when all commands are listed. Importing all of them takes a second of
processor time, too much for a health check every half minute or a script of ten commands.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from agent import __version__
from agent.core.errors import AgentError
from aitbc.errors import AITBCError

COMMANDS: Final = {
    "start": "running.serve.start",
    "coordinator": "running.serve.coordinator",
    "enroll": "operators.enroll.app",
    "login": "operators.login.login",
    "status": "running.status.status",
    "doctor": "machine.doctor.doctor",
    "health": "running.health.health",
    "earnings": "machine.earnings.earnings",
    "fleet": "machine.fleet.fleet",
    "explain": "machine.explain.explain",
    "bench": "machine.bench.bench",
    "calibrate": "machine.calibrate.calibrate",
    "pause": "running.pause.pause",
    "resume": "running.pause.resume",
    "drain": "running.pause.drain",
    "stop": "running.stop.stop",
    "fsck": "operators.fsck.fsck",
    "backup": "operators.backup.backup",
    "restore": "operators.backup.restore",
    "migrate": "operators.migrate.migrate",
    "accounts": "operators.accounts.app",
    "keys": "operators.keys.app",
    "miners": "operators.miners.app",
    "audits": "machine.audits.app",
    "canaries": "operators.canaries.app",
    "payouts": "operators.payouts.app",
    "models": "machine.models.app",
    "engines": "machine.engines.app",
    "receipts": "operators.receipts.app",
    "config": "machine.config.app",
    "service": "running.service.app",
}
"""Each command with its module and attribute in `agent.cli.commands`: a function, or the application of a group."""


class _Commands(TyperGroup):
    """Finds commands in `COMMANDS`. Uses no types of the library, since they differ between versions."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See `TyperGroup.resolve_command`. Its suggestions come from `commands`, whose values are not needed for them."""
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment] # see above
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is the library's
        """Return all names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].rpartition(".")
        gc.disable()  # imports create few cycles of garbage, but looking for them takes a sixth of their time
        try:
            found = getattr(import_module(f"agent.cli.commands.{module}"), name)
        finally:
            gc.enable()
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
    help="Run an AITBC miner or coordinator on this machine.",
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run an AITBC miner or coordinator on this machine."""


def main() -> None:
    """See `agent.cli.main`."""
    try:
        app(prog_name="aitbc-agent")
    except (AgentError, AITBCError, OSError) as error:
        first, *more = str(error).splitlines() or [type(error).__name__]
        typer.echo("\n  ".join([f"aitbc-agent: {first}", *more]), err=True)
        sys.exit(error.exit_code if isinstance(error, AgentError) else 1)
