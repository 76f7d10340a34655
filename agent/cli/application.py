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
from aitbc.cli._arguments.lazy_group import LazyGroup, ListedCommand
from aitbc.cli._controls import protect_terminal
from aitbc.errors import AITBCError

_RUNNING: Final = "agent.cli.commands.running"
_MACHINE: Final = "agent.cli.commands.machine"
_OPERATORS: Final = "agent.cli.commands.operators"
_PANELS: Final = {
    "Run the agent": ("start", "join", "coordinator", "service", "update", "uninstall"),
    "Look at it": ("status", "logs", "doctor", "earnings", "summary", "health"),
    "Control it": ("pause", "resume", "drain", "stop", "config", "models", "engines"),
    "Measure and test the machine": (
        "bench",
        "selftest",
        "efficiency",
        "calibrate",
        "notices",
        "support-bundle",
    ),
}
_OPERATE: Final = "Operate a coordinator"


def _of_features() -> dict[str, ListedCommand]:
    by_name = sorted(features.modules("cli"), key=attrgetter("__name__"))
    return {name: entry for module in by_name for name, entry in module.COMMANDS.items()}


class AgentCommands(LazyGroup):
    """The commands, in the order of the help: those of features are the last."""

    listed: ClassVar[Mapping[str, ListedCommand]] = {
        "start": ListedCommand(
            f"{_RUNNING}.serve", "start", "Run a miner and, without --coordinator, a coordinator for it."
        ),
        "join": ListedCommand(
            f"{_RUNNING}.join", "join", "Join a coordinator with a code from its operator, before `start`."
        ),
        "coordinator": ListedCommand(
            f"{_RUNNING}.serve",
            "coordinator",
            "Run a coordinator without a miner; miners join it over the network.",
        ),
        "status": ListedCommand(
            f"{_RUNNING}.status",
            "status",
            "Show the running agent's connection, GPUs and jobs, and why services are unavailable.",
        ),
        "logs": ListedCommand(
            f"{_MACHINE}.logs",
            "logs",
            "Show what the agent has done, in sentences. The agent need not be running.",
        ),
        "doctor": ListedCommand(
            f"{_MACHINE}.doctor",
            "doctor",
            "Check whether this machine can work, and say what to do. Exit code 1: a problem prevents work.",
        ),
        "health": ListedCommand(
            f"{_RUNNING}.health",
            "health",
            "Check the health of the running agent. Exit code 1: it is unhealthy or not ready yet.",
        ),
        "earnings": ListedCommand(
            f"{_MACHINE}.earnings",
            "earnings",
            "Show the total earnings, the reputation and the latest payments of the running agent's miner.",
        ),
        "bench": ListedCommand(
            f"{_MACHINE}.bench",
            "bench",
            "Measure every runner on every device, save the scores, and suggest prices. The agent must not be running.",
        ),
        "selftest": ListedCommand(
            f"{_MACHINE}.selftest",
            "selftest",
            "Test cards, memory, bus, video and a job of each service. A running agent does so itself, after its jobs. Exit code 1: a fault was found.",
        ),
        "efficiency": ListedCommand(
            f"{_MACHINE}.efficiency",
            "efficiency",
            "Find the power limit of each card with the most work for a kilowatt-hour. Stop the agent first, and start the helper.",
        ),
        "calibrate": ListedCommand(
            f"{_MACHINE}.calibrate",
            "calibrate",
            "Measure how far honest runs differ, for the limits of audits on this machine. Stop the agent first; run again to continue.",
        ),
        "notices": ListedCommand(
            f"{_MACHINE}.notices",
            "notices",
            "Send a notice as the settings say, to try whether it arrives. The agent need not be running.",
        ),
        "support-bundle": ListedCommand(
            f"{_MACHINE}.support_bundle",
            "support_bundle",
            "Write one file for the person who helps you: versions, settings, doctor, logs, failures, without secrets. Nothing is sent.",
        ),
        "summary": ListedCommand(
            f"{_MACHINE}.summary",
            "summary",
            "Show what this machine earned, used and failed at in the last days. The agent need not be running.",
        ),
        "pause": ListedCommand(
            f"{_RUNNING}.pause",
            "pause",
            "Stop accepting jobs until `resume`, even after a restart. Running jobs finish; idle models are unloaded.",
        ),
        "resume": ListedCommand(
            f"{_RUNNING}.pause",
            "resume",
            "Accept jobs again. A schedule that is pausing the miner is ignored until its current window ends.",
        ),
        "drain": ListedCommand(
            f"{_RUNNING}.pause", "drain", "Stop accepting jobs until `resume`, and let running jobs finish."
        ),
        "stop": ListedCommand(
            f"{_RUNNING}.stop",
            "stop",
            "Stop the agent. Running jobs may finish within the drain time; the rest are returned to the coordinator.",
        ),
        "enroll": ListedCommand(
            f"{_OPERATORS}.enroll", "app", "Let miners on other machines join this coordinator."
        ),
        "backup": ListedCommand(
            f"{_OPERATORS}.backup",
            "backup",
            "Copy database, keys and settings, whether or not the agent is running, and check the copy.",
        ),
        "restore": ListedCommand(
            f"{_OPERATORS}.backup",
            "restore",
            "Restore a backup into a data directory without an agent, and check it.",
        ),
        "accounts": ListedCommand(f"{_OPERATORS}.accounts", "app", "Manage clients' accounts."),
        "keys": ListedCommand(f"{_OPERATORS}.keys", "app", "Manage API keys."),
        "miners": ListedCommand(f"{_OPERATORS}.miners", "app", "Manage the miners of this coordinator."),
        "models": ListedCommand(f"{_MACHINE}.models", "app", "Manage models."),
        "engines": ListedCommand(
            f"{_MACHINE}.engines", "app", "Manage engines in environments of their own."
        ),
        "config": ListedCommand(f"{_MACHINE}.config", "app", "Check and show settings."),
        "update": ListedCommand(
            f"{_RUNNING}.update",
            "update",
            "Install the newest version beside this one, try it, and restart the agent with it. If it does not work, this one returns.",
        ),
        "service": ListedCommand(f"{_RUNNING}.service", "app", "Manage the agent as a systemd service."),
        "uninstall": ListedCommand(
            f"{_RUNNING}.uninstall",
            "uninstall",
            "Stop the agent, remove its services, engines, models and caches, and by choice its data.",
        ),
        **_of_features(),
    }


# In the order of the groups, which is that of an owner's days. Features name the group of their commands themselves.
_panel_of = {name: panel for panel, names in _PANELS.items() for name in names}
_order = {name: number for number, name in enumerate(_panel_of)}
AgentCommands.listed = {
    name: replace(entry, panel=entry.panel or _panel_of.get(name, _OPERATE))
    for name, entry in sorted(AgentCommands.listed.items(), key=lambda item: _order.get(item[0], len(_order)))
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
