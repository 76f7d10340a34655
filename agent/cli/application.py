"""The command's root: its groups, and what happens to errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from agent import __version__
from agent.cli import (
    accounts,
    backup,
    bench,
    config,
    doctor,
    earnings,
    enroll,
    fsck,
    health,
    keys,
    login,
    models,
    pause,
    receipts,
    serve,
    service,
    status,
    stop,
)
from agent.core.errors import AgentError
from aitbc.errors import AITBCError

app = typer.Typer(
    name="aitbc-agent",
    help="Turn this machine into a worker that earns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("start")(serve.start)
app.command("coordinator")(serve.coordinator)
app.command("enroll")(enroll.enroll)
app.command("login")(login.login)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("health")(health.health)
app.command("earnings")(earnings.earnings)
app.command("bench")(bench.bench)
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("drain")(pause.drain)
app.command("stop")(stop.stop)
app.command("fsck")(fsck.fsck)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(accounts.app, name="accounts")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(receipts.app, name="receipts")
app.add_typer(config.app, name="config")
app.add_typer(service.app, name="service")


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
