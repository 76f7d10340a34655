"""The commands that check the log, the ledger and receipts."""

from __future__ import annotations

from typing import Final

from aitbc.cli._arguments.lazy_group import ListedCommand

COMMANDS: Final = {
    "fsck": ListedCommand(
        "agent.coordinator.features.log.cli.fsck",
        "fsck",
        "Rebuild the log from the database, check it and the ledger. Changes nothing. Exit code 3: there are problems.",
    ),
    "receipts": ListedCommand("agent.coordinator.features.log.cli.receipts", "app", "Verify receipts."),
}
"""For `aitbc-agent`, which imports their modules only when they run."""
