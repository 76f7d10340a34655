"""The command that explains to a miner's owner which jobs wait."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "explain": ListedCommand(
        "agent.coordinator.features.waits.cli.explain",
        "explain",
        "Show, for each kind of waiting job, why this machine does not get it and what would change that.",
        panel="Look at it",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
