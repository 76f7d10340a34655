"""The command that signs a browser in."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "login": ListedCommand(
        "agent.coordinator.features.browser.cli.login",
        "login",
        "Create a link that signs in to the dashboard once, within minutes, as client, owner and administrator.",
        panel="Look at it",
    ),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
