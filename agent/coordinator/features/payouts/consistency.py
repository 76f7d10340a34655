"""Whether the batches of payouts agree with their payments, the ledger and the log."""

from __future__ import annotations

from agent.coordinator.features.payouts.manifests import manifest_of
from agent.coordinator.features.payouts.store import batches, bookings, checks
from agent.coordinator.operations.files.examination import Find
from agent.coordinator.store.database import Connection
from aitbc.errors import VerificationError


def examine(connection: Connection, origin: str, find: Find) -> tuple[str, int]:
    """Check the batches, and that each approved one has exactly the leaf that follows from its payments. Return how many there are."""
    for problem in checks.problems(connection):
        find("payout", "payouts", problem)
    for problem in bookings.problems(connection):
        find("ledger", "ledger", problem)
    manifests = checks.manifests(connection)
    for batch, leaf in manifests:
        # An approval and its leaf are stored together, so one without the other means that rows were changed.
        if leaf is None:
            find("unlogged", batch.batch_id, "the approved batch of payouts has no leaf in the log")
            continue
        try:
            # The manifest is made again from the rows, since a stored copy would hide a changed payment.
            derived = manifest_of(batch, batches.of_batch(connection, batch.batch_id), origin).to_leaf()
        except (VerificationError, ArithmeticError, ValueError) as error:
            find("payout", batch.batch_id, f"its manifest cannot be made from its payments: {error}")
            continue
        if leaf.encode() != derived or leaf != batch.manifest:
            find("payout", batch.batch_id, "the log, the manifest and the payments differ")
    # Nobody can take a leaf out of the log: a batch that has one, but no row, was deleted.
    for reference in checks.unknown_leaves(connection):
        find("payout", reference, "the log has a batch of payouts that was not approved")
    return "payouts", len(manifests)
