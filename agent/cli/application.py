"""The root command: finds subcommands and reports errors."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, ClassVar, Final

import typer

from agent import __version__, features
from agent.core.errors import AgentError
from aitbc.cli._arguments.lazy_group import LazyGroup, ListedCommand, commands_in
from aitbc.cli._controls import protect_terminal
from aitbc.errors import AITBCError

_OPERATE: Final = "Operate a coordinator"
_PANELS: Final[Mapping[str, Mapping[str, str]]] = {
    "Run the agent": {
        "running.serve:start": "Run a miner and, without --coordinator, a coordinator for it.",
        "running.join:join": "Join a coordinator with a code from its operator, before `start`.",
        "running.serve:coordinator": "Run a coordinator without a miner; miners join it over the network.",
        "running.service:app": "Manage the agent as a systemd service.",
        "running.update:update": "Install the newest version beside this one, try it, and restart the agent with it. If it does not work, this one returns.",
        "running.uninstall:uninstall": "Stop the agent, remove its services, engines, models and caches, and by choice its data.",
    },
    "Look at it": {
        "running.status:status": "Show the running agent's connection, GPUs and jobs, and why services are unavailable.",
        "machine.logs:logs": "Show what the agent has done, in sentences. The agent need not be running.",
        "machine.doctor:doctor": "Check whether this machine can work, and say what to do. Exit code 1: a problem prevents work.",
        "machine.earnings:earnings": "Show the total earnings, the reputation and the latest payments of the running agent's miner.",
        "machine.summary:summary": "Show what this machine earned, used and failed at in the last days. The agent need not be running.",
        "running.health:health": "Check the health of the running agent. Exit code 1: it is unhealthy or not ready yet.",
    },
    "Control it": {
        "running.pause:pause": "Stop accepting jobs until `resume`, even after a restart. Running jobs finish; idle models are unloaded.",
        "running.pause:resume": "Accept jobs again. A schedule that is pausing the miner is ignored until its current window ends.",
        "running.pause:drain": "Stop accepting jobs until `resume`, and let running jobs finish.",
        "running.stop:stop": "Stop the agent. Running jobs may finish within the drain time; the rest are returned to the coordinator.",
        "machine.config:app": "Check and show settings.",
        "machine.models:app": "Manage models.",
        "machine.engines:app": "Manage engines in environments of their own.",
    },
    "Measure and test the machine": {
        "machine.bench:bench": "Measure every runner on every device, save the scores, and suggest prices. The agent must not be running.",
        "machine.selftest:selftest": "Test cards, memory, bus, video and a job of each service. A running agent does so itself, after its jobs. Exit code 1: a fault was found.",
        "machine.efficiency:efficiency": "Find the power limit of each card with the most work for a kilowatt-hour. Stop the agent first, and start the helper.",
        "machine.calibrate:calibrate": "Measure how far honest runs differ, for the limits of audits on this machine. Stop the agent first; run again to continue.",
        "machine.notices:notices": "Send a notice as the settings say, to try whether it arrives. The agent need not be running.",
        "machine.support_bundle:support_bundle": "Write one file for the person who helps you: versions, settings, doctor, logs, failures, without secrets. Nothing is sent.",
    },
    _OPERATE: {
        "operators.enroll:app": "Let miners on other machines join this coordinator.",
        "operators.backup:backup": "Copy database, keys and settings, whether or not the agent is running, and check the copy.",
        "operators.backup:restore": "Restore a backup into a data directory without an agent, and check it.",
        "operators.accounts:app": "Manage clients' accounts.",
        "operators.keys:app": "Manage API keys.",
        "operators.miners:app": "Manage the miners of this coordinator.",
    },
}
"""The commands in the order of an owner's days: the beginnings of their helps by panel."""


class AgentCommands(LazyGroup):
    """The commands, in the order of the help: those of features, which may name another panel, are the last."""

    listed: ClassVar[Mapping[str, ListedCommand]] = {
        name: replace(entry, panel=entry.panel or _OPERATE)
        for commands in (
            commands_in("agent.cli.commands", _PANELS),
            *(module.COMMANDS for module in sorted(features.modules("cli"), key=attrgetter("__name__"))),
        )
        for name, entry in commands.items()
    }


app = typer.Typer(
    name="aitbc-agent",
    help="Run an AITBC miner or coordinator on this machine.",
    cls=AgentCommands,
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
    # Names and messages from a coordinator may contain control characters.
    protect_terminal()
    try:
        app(prog_name="aitbc-agent")
    except (AgentError, AITBCError, OSError) as error:
        # Indented, so that each line of an error can still be distinguished from the next error in a log.
        first, *further_lines = str(error).splitlines() or [type(error).__name__]
        typer.echo("\n  ".join([f"aitbc-agent: {first}", *further_lines]), err=True)
        sys.exit(error.exit_code if isinstance(error, AgentError) else 1)
