"""The commands of payouts."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "payouts": ListedCommand(
        "agent.coordinator.features.payouts.cli.payouts",
        "app",
        "Pay out what miners have earned.",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
