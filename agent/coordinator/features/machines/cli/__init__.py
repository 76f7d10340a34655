"""The command that shows a fleet of machines."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "fleet": ListedCommand(
        "agent.coordinator.features.machines.cli.fleet",
        "fleet",
        "Show all machines of this miner's owner together; on a coordinator, all of its machines.",
        panel="Look at it",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
