"""The command `aitbc`: a thin layer over the client, with one module for each command or group of commands.

`_exits` defines the exit codes. docs/reference/cli.md is the users' documentation.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from aitbc.cli._arguments.options import State
from aitbc.cli._terminal.exits import exit_code, explain
from aitbc.cli._terminal.output import print_error
from aitbc.cli.commands import (
    artifacts,
    chat,
    imagine,
    jobs,
    log,
    market,
    offers,
    receipts,
    render,
    run,
    transcode,
    transcribe,
    wallet,
)
from aitbc.errors import AITBCError

app = typer.Typer(
    help="Send jobs to an AITBC coordinator, and verify receipts without one.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=True,
)
_WORK = "Run jobs"
_MARKET = "What is available"
_ACCOUNT = "Jobs and payments"
_PROOF = "Verification"

app.command("transcribe", cls=transcribe.Command, rich_help_panel=_WORK)(transcribe.transcribe)
app.command("imagine", rich_help_panel=_WORK)(imagine.imagine)
app.command("chat", rich_help_panel=_WORK)(chat.chat)
app.command("transcode", rich_help_panel=_WORK)(transcode.transcode)
app.command("render", rich_help_panel=_WORK)(render.render)
app.command("run", rich_help_panel=_WORK)(run.run)
app.command("models", rich_help_panel=_MARKET)(market.models)
app.command("services", rich_help_panel=_MARKET)(market.services)
app.command("miners", rich_help_panel=_MARKET)(market.miners)
app.add_typer(offers.app, name="offers", rich_help_panel=_MARKET)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_ACCOUNT)
app.add_typer(artifacts.app, name="artifacts", rich_help_panel=_ACCOUNT)
app.add_typer(wallet.app, name="wallet", rich_help_panel=_ACCOUNT)
app.add_typer(receipts.app, name="receipts", rich_help_panel=_PROOF)
app.add_typer(log.app, name="log", rich_help_panel=_PROOF)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"aitbc {version('aitbc')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    base_url: Annotated[
        str | None,
        typer.Option(help="The coordinator's URL. Default: AITBC_BASE_URL, else the local agent."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="The API key. Default: AITBC_API_KEY, else the local agent's.")
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Send jobs to an AITBC coordinator, and verify receipts without one."""
    del show_version
    context.obj = State(base_url, api_key)


def main() -> None:
    """Run the command. Every expected error becomes one paragraph on stderr and an exit code."""
    try:
        app(prog_name="aitbc")
    except (AITBCError, OSError) as error:
        print_error(explain(error))
        sys.exit(exit_code(error))
