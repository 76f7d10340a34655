"""Proves that two databases hold the same installation: numbers of rows, sums of the ledger, and everything that `fsck` derives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.coordinator.features.log.fsck import Examination, examine, examine_log
from agent.coordinator.features.replicas.store.sums import ledger_sums, row_counts
from agent.coordinator.operations.context import Connection
from agent.coordinator.operations.files.examination import Examine
from aitbc.log import Checkpoint


@dataclass(frozen=True, slots=True)
class CopyComparison:
    """What both databases contain, and in what they differ. `examination` is the second one's."""

    rows: dict[str, int]
    ledger_accounts: int
    examination: Examination
    differences: list[str] = field(default_factory=list)


def compare(
    first: Connection,
    second: Connection,
    log_key: str,
    checkpoints: Mapping[str, Checkpoint],
    examiners: Sequence[Examine],
) -> CopyComparison:
    """Compare two databases. The last arguments are those of `examine`. Reads everything."""
    counts, sums = row_counts(second), ledger_sums(second)
    examination = examine(second, log_key, checkpoints, examiners)
    comparison = CopyComparison(counts, len(sums), examination)
    for table, count in row_counts(first).items():
        if count != counts[table]:
            comparison.differences.append(
                f"{table} has {count} rows in the source and {counts[table]} in the copy"
            )
    expected = ledger_sums(first)
    # Also accounts that only the copy has.
    for account in sorted(expected.keys() | sums.keys()):
        if expected.get(account) != sums.get(account):
            comparison.differences.append(
                f"the postings and the balance of {account} add up to {expected.get(account)} in the source, and to {sums.get(account)} in "
                "the copy"
            )
    # A copy without problems proves everything except that the log is the same. Problems must be the same.
    complete = bool(examination.problems)
    original = (
        examine(first, log_key, checkpoints, examiners)
        if complete
        else examine_log(first, log_key, checkpoints)
    )
    if original.root != examination.root:
        comparison.differences.append(
            f"the log of the source has the root {original.root}, and that of the copy {examination.root}"
        )
    elif original.problems != examination.problems or (complete and original != examination):
        comparison.differences.append(
            "fsck finds different records or problems in the source and in the copy"
        )
    return comparison
