"""The command that shows the trail."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "trail": ListedCommand(
        "agent.coordinator.features.trail.cli.trail",
        "trail",
        "Show what administrators have done: who credited whom, created keys, removed miners.",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
