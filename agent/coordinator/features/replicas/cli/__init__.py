"""The command that moves a coordinator to PostgreSQL."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "migrate": ListedCommand(
        "agent.coordinator.features.replicas.cli.migrate",
        "migrate",
        "Move the coordinator's data from SQLite to PostgreSQL. Run it again after an interruption. Exit code 3: the copy differs.",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
