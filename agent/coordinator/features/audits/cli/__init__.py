"""The commands of audits."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "audits": ListedCommand(
        "agent.coordinator.features.audits.cli.audits",
        "app",
        "Show audits of results, and ask for second opinions.",
    ),
    "canaries": ListedCommand(
        "agent.coordinator.features.audits.cli.canaries",
        "app",
        "Manage canaries, the jobs with known answers.",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
