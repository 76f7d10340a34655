"""Invariants of a coordinator's and its miners' data after any fault. Each violation is described in a sentence.

`examine_database` may run while the coordinator is running, `examine_files` and `examine_miner` only after all have stopped.
"""

# ruff: noqa: S608 - only literals of this file are inserted into queries

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from agent.coordinator.blobs.store import name_of
from support.features import is_installed

AUDITS: Final = "account_audits"
"""The account of the jobs that check the work of others."""
FINAL: Final = ("completed", "failed", "cancelled")
_FINAL_SQL: Final = "('completed', 'failed', 'cancelled')"
MOST_NAMED: Final = 5

_QUERIES: Final = {
    "entries that do not sum to zero": (
        "SELECT tx_id, entry, sum(amount) FROM postings GROUP BY tx_id, entry HAVING sum(amount) != 0"
    ),
    "balances that are not the sum of their postings": (
        "SELECT ledger_account, amount, total FROM balances LEFT JOIN (SELECT ledger_account AS account, sum(amount) AS total "
        "FROM postings GROUP BY 1) ON account = ledger_account WHERE amount != coalesce(total, 0)"
    ),
    "accounts that are overdrawn": (
        "SELECT ledger_account, amount FROM balances WHERE amount < 0 AND ledger_account != 'issued'"
    ),
    "jobs without a payment": (
        "SELECT job_id FROM jobs WHERE job_id NOT IN (SELECT job_id FROM transactions WHERE job_id IS NOT NULL)"
    ),
    "jobs that have ended and are not settled": (
        "SELECT job_id, t.status FROM jobs JOIN transactions t USING (job_id) "
        f"WHERE state IN {_FINAL_SQL} AND t.status = 'pending'"
    ),
    "jobs that are settled before their end": (
        "SELECT job_id, state, t.status FROM jobs JOIN transactions t USING (job_id) "
        f"WHERE state NOT IN {_FINAL_SQL} AND t.status != 'pending'"
    ),
    "payments whose escrow differs from the held amount": (
        "SELECT tx_id, status, held, total FROM transactions LEFT JOIN (SELECT tx_id AS id, sum(amount) AS total FROM postings "
        "WHERE ledger_account LIKE 'escrow:%' GROUP BY 1) ON id = tx_id WHERE kind = 'payment' "
        "AND coalesce(total, 0) != CASE status WHEN 'pending' THEN held ELSE 0 END"
    ),
    "payments that were settled more than once, or for more than was held": (
        "SELECT tx_id, count(*), sum(amount) FROM postings WHERE ledger_account LIKE 'escrow:%' AND entry != 'hold' "
        "GROUP BY tx_id HAVING count(*) != 1"
    ),
    "miners whose earnings differ from their postings": (
        "SELECT miner_id, earned, total FROM miner_stats LEFT JOIN (SELECT ledger_account AS account, sum(amount) AS total "
        "FROM postings GROUP BY 1) ON account = 'earned:' || miner_id WHERE earned != coalesce(total, 0)"
    ),
    "jobs that were accepted twice": (
        f"SELECT name, count(*) FROM jobs WHERE deleted_at IS NULL AND account_id != '{AUDITS}' GROUP BY name HAVING count(*) > 1"
    ),
    "completed jobs without exactly one receipt, one result and one run that completed": (
        "SELECT job_id, r, s, c FROM (SELECT job_id, (SELECT count(*) FROM receipts WHERE job_id = jobs.job_id) AS r, "
        "(SELECT count(*) FROM results WHERE job_id = jobs.job_id) AS s, "
        "(SELECT count(*) FROM runs WHERE job_id = jobs.job_id AND outcome = 'completed') AS c, deleted_at "
        "FROM jobs WHERE state = 'completed') WHERE r != 1 OR s != (deleted_at IS NULL) OR c != 1"
    ),
    "receipts or results of jobs that are not completed": (
        "SELECT job_id FROM (SELECT job_id FROM receipts UNION SELECT job_id FROM results) "
        "JOIN jobs USING (job_id) WHERE state != 'completed'"
    ),
    "leases of jobs that do not run": (
        f"SELECT job_id, state FROM jobs WHERE state IN {_FINAL_SQL} AND lease_session IS NOT NULL"
    ),
    "jobs that run without a lease": (
        "SELECT job_id FROM jobs WHERE state = 'running' AND (lease_session IS NULL OR lease_expires_at IS NULL)"
    ),
    "runs with a newer fence than their job": (
        "SELECT job_id, runs.fence, jobs.fence FROM runs JOIN jobs USING (job_id) WHERE runs.fence > jobs.fence"
    ),
    "stored counts of jobs that are wrong": (
        "SELECT account_id, service, state, count, n FROM job_counts LEFT JOIN (SELECT account_id AS a, service AS s, "
        "CASE WHEN deleted_at IS NULL THEN '' ELSE '~' END || state AS t, count(*) AS n FROM jobs GROUP BY 1, 2, 3) ON a = account_id AND s = service AND t = state "
        "WHERE count != coalesce(n, 0)"
    ),
    "outputs of jobs without an artifact": (
        "SELECT job_id, artifact_id FROM job_artifacts WHERE artifact_id NOT IN (SELECT artifact_id FROM artifacts)"
    ),
}
"""Each query returns violations."""
_AT_THE_END: Final = {
    "jobs that have not ended": f"SELECT job_id, state FROM jobs WHERE state NOT IN {_FINAL_SQL}",
    "leaves without a number": "SELECT reference FROM log_queue",
}
"""Each query returns what is unfinished."""
if is_installed("webhooks"):
    _QUERIES["jobs that have ended without a message to their webhook"] = (
        f"SELECT job_id FROM jobs JOIN job_webhooks USING (job_id) WHERE state IN {_FINAL_SQL} "
        "AND job_id NOT IN (SELECT job_id FROM webhook_deliveries)"
    )
    _AT_THE_END["messages that were not delivered"] = (
        "SELECT webhook_id, attempts, last_error FROM webhook_deliveries WHERE state != 'delivered'"
    )


def coordinator_directory(data_dir: Path) -> Path:
    """Return the directory of a coordinator's files."""
    return data_dir / "coordinator"


@contextmanager
def open_database(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open a read-only snapshot of a coordinator's database."""
    path = coordinator_directory(data_dir) / "coordinator.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        connection.execute("BEGIN")
        yield connection


def counts(data_dir: Path) -> dict[str, int]:
    """Return the number of jobs in each state."""
    with open_database(data_dir) as database:
        rows = database.execute(
            "SELECT state, sum(count) FROM job_counts WHERE count > 0 GROUP BY state"
        ).fetchall()
    return {state: int(count) for state, count in rows}


def examine_database(data_dir: Path, accepted: Collection[str]) -> list[str]:
    """Return violations in the database, at any time. `accepted` are the jobs that clients received a 201 for."""
    with open_database(data_dir) as database:
        found = [
            f"{what}: {len(rows)}, such as {rows[:MOST_NAMED]}"
            for what, query in _QUERIES.items()
            if (rows := database.execute(query).fetchall())
        ]
        (total,) = database.execute("SELECT coalesce(sum(amount), 0) FROM postings").fetchone()
        if total:
            found.append(f"all postings together sum to {total}")
        known = {job_id for (job_id,) in database.execute("SELECT job_id FROM jobs")}
    if lost := sorted(set(accepted) - known):
        found.append(f"jobs that were accepted and are lost: {len(lost)}, such as {lost[:MOST_NAMED]}")
    return found


def examine_end(data_dir: Path) -> list[str]:
    """Return what is unfinished after all jobs should have ended and all messages been sent."""
    with open_database(data_dir) as database:
        return [
            f"{what}: {len(rows)}, such as {rows[:MOST_NAMED]}"
            for what, query in _AT_THE_END.items()
            if (rows := database.execute(query).fetchall())
        ]


def examine_files(data_dir: Path) -> list[str]:
    """Return differences between the coordinator's files and its database, after the deletion of old orphans."""
    root = coordinator_directory(data_dir) / "artifacts"
    with open_database(data_dir) as database:
        rows = {
            blob or artifact_id: (artifact_id, size)
            for artifact_id, size, blob in database.execute("SELECT artifact_id, size, blob FROM artifacts")
        }
        query = "SELECT upload_id FROM uploads"
        uploads = {name for (name,) in database.execute(query)} if is_installed("tus") else set()
    found = [f"a file that was never finished: {path.name}" for path in (root / "incoming").iterdir()]
    found += [
        f"a part of an upload without a row: {path.name}"
        for path in (root / "uploads").iterdir()
        if path.name not in uploads
    ]
    blobs = {
        name_of(f"{path.parent.name}/{path.name}"): path
        for path in root.glob("[0-9a-f][0-9a-f]/*")
        if path.is_file()
    }
    found += [f"an artifact without a file: {name}" for name in rows.keys() - blobs.keys()]
    found += [f"a file without a row: {name}" for name in blobs.keys() - rows.keys()]
    for name in blobs.keys() & rows.keys():
        content = blobs[name].read_bytes()
        if (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) != rows[name]:
            found.append(f"an artifact whose content does not match its name: {name}")
    return found + _temporary(coordinator_directory(data_dir))


def examine_miner(data_dir: Path) -> list[str]:
    """Return remains of jobs at a stopped miner."""
    directory = data_dir / "miner"
    found = [f"a job's directory: {path.name}" for path in (directory / "jobs").iterdir()]
    with closing(sqlite3.connect(f"file:{directory / 'outbox.db'}?mode=ro", uri=True)) as outbox:
        for table in ("entries", "artifacts"):
            rows = outbox.execute(f"SELECT job_id, fence FROM {table}").fetchall()
            found += [f"an entry in the outbox's {table}: {row}" for row in rows]
    return found + _temporary(directory)


def _temporary(directory: Path) -> list[str]:
    """Return temporary files, which are written before they are renamed."""
    return [
        f"a temporary file: {path.relative_to(directory)}"
        for path in directory.rglob("*")
        if path.suffix in {".new", ".part", ".tmp"}
    ]
