"""The sequencer: leaves are numbered in order, and after each step the tree has a signed checkpoint."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from sqlalchemy import text

from agent.coordinator.features.log import sequencer, store
from agent.coordinator.features.log.sequencer import (
    EVERYTHING_SECONDS,
    LATE_SECONDS,
    LogInconsistent,
    Passed,
    check,
    integrate,
    leaf_bytes,
    tree_of,
)
from agent.coordinator.features.log.store import NewLeaf
from agent.coordinator.signer import Signer
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema import upgrade
from agent.coordinator.store.sqlite import database as engine
from aitbc.leaves.settlement import Settlement, transaction_id
from aitbc.log import Checkpoint, open_checkpoint
from aitbc.merkle import EMPTY_ROOT, Frontier, consistency_proof, leaf_hash, verify_consistency

SIGNER = Signer("log.test", SigningKey(b"l" * 32))


def settlement(number: int) -> Settlement:
    return Settlement(
        job_id=f"job_{number}",
        receipt_id=None,
        miner_id=None,
        outcome="cancelled",
        held=Decimal(number),
        paid=Decimal(0),
        fee=Decimal(0),
        refunded=Decimal(number),
        settled_at="2026-11-25T12:00:00Z",
    )


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Return a connection to an empty database, in a transaction."""
    with transaction(tmp_path / "coordinator.db") as connection:
        yield connection


@contextmanager
def transaction(path: Path) -> Iterator[Connection]:
    made = engine._engine(path, readers=1, read_only=False)
    with made.connect() as connection:
        upgrade.prepare(connection)
        with connection.begin():
            yield connection
    made.dispose()


def fact(logged: Settlement) -> NewLeaf:
    return NewLeaf(transaction_id(logged.job_id), logged.to_leaf())


def queue(connection: Connection, numbers: range) -> None:
    for number in numbers:
        store.queue(connection, [fact(settlement(number))])


def test_the_log_begins_with_a_checkpoint_of_the_empty_tree(connection: Connection) -> None:
    record, more = integrate(connection, SIGNER, 1.0)
    assert record is not None
    assert open_checkpoint(record.note, SIGNER.vkey) == Checkpoint("log.test", 0, EMPTY_ROOT)
    assert not more
    assert integrate(connection, SIGNER, 2.0) == (None, False)


def test_every_checkpoint_is_signed_and_consistent_with_earlier_ones(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of all sizes around a tile's width. All checkpoints are consistent with the last one."""
    monkeypatch.setattr(sequencer, "BATCH", 300)
    frontier, checkpoints, size = Frontier(), [], 0
    for count in (1, 254, 1, 1, 255, 256, 300):
        queue(connection, range(size, size + count))
        record, more = integrate(connection, SIGNER, float(size))
        assert record is not None
        assert more is (count == 300)
        frontier.extend(leaf_hash(settlement(number).to_leaf()) for number in range(size, size + count))
        size += count
        checkpoint = open_checkpoint(record.note, SIGNER.vkey)
        assert checkpoint == Checkpoint("log.test", size, frontier.root())
        checkpoints.append(checkpoint)
    newest = checkpoints[-1]
    tree = tree_of(connection, size)
    for old in checkpoints:
        proof = consistency_proof(tree, old.size, size)
        assert verify_consistency(old.size, old.root, size, newest.root, proof)
    leaves = store.leaves(connection, 0, size)
    assert [leaf_bytes(leaf) for leaf in leaves] == [settlement(number).to_leaf() for number in range(size)]
    assert store.first_queued(connection) is None
    assert integrate(connection, SIGNER, 9.0) == (None, False)


def test_the_queue_is_read_behind_what_was_empty_for_a_while() -> None:
    """Entries that become visible late are found when everything is read."""
    passed = Passed()
    assert passed.after(0) == 0
    passed.note(100, 0)
    passed.note(200, 1)
    assert passed.after(LATE_SECONDS) == 0
    assert passed.after(LATE_SECONDS + 0.5) == 99
    assert passed.after(LATE_SECONDS + 2) == 199
    assert passed.after(EVERYTHING_SECONDS) == 0
    assert passed.after(EVERYTHING_SECONDS + 1) == 199


def test_leaves_behind_an_entry_are_numbered_and_others_wait(connection: Connection) -> None:
    store.queue(connection, [NewLeaf("one", b"1"), NewLeaf("two", b"2"), NewLeaf("three", b"3")])
    first = store.first_queued(connection)
    assert first is not None
    record, more = integrate(connection, SIGNER, 1.0, first)
    assert record is not None
    assert (record.size, more) == (2, False)
    assert [leaf.reference for leaf in store.queued(connection)] == ["one"]
    assert store.first_queued(connection, first) is None
    record, _ = integrate(connection, SIGNER, 2.0)
    assert record is not None
    assert record.size == 3


def test_no_checkpoint_is_signed_if_the_tree_differs_from_the_newest_one(connection: Connection) -> None:
    """No change below the newest checkpoint removes a leaf from the queue."""
    queue(connection, range(300))
    integrate(connection, SIGNER, 1.0)
    queue(connection, range(300, 301))
    changes = (
        "UPDATE log_tiles SET hashes = zeroblob(8192) WHERE level = 0 AND tile_index = 1",
        "UPDATE log_tiles SET hashes = zeroblob(32) WHERE level = 1",
        "DELETE FROM log_tiles WHERE level = 1",
        "UPDATE log_tiles SET hashes = substr(hashes, 1, 64) WHERE tile_index = 1",
        "UPDATE log_checkpoints SET root = zeroblob(32)",
        "UPDATE log_checkpoints SET note = replace(note, '300', '299')",
    )
    for change in changes:
        savepoint = connection.begin_nested()
        connection.execute(text(change))
        with pytest.raises(LogInconsistent):
            integrate(connection, SIGNER, 2.0)
        savepoint.rollback()
    assert len(store.queued(connection)) == 1
    with pytest.raises(LogInconsistent, match="not from this log"):
        check(connection, Signer("other.test", SIGNER.key))
    record, _ = integrate(connection, SIGNER, 2.0)
    assert record is not None
    assert record.size == 301


KILLED = """
import asyncio, base64, os, signal, sys
from pathlib import Path
from nacl.signing import SigningKey
from agent.coordinator.features.log import store
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.log.store import NewLeaf
from agent.coordinator.signer import Signer
from agent.coordinator.store.schema import upgrade
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from aitbc.leaves.settlement import parse_settlement, transaction_id

async def main():
    database = SQLiteDatabase(Path(sys.argv[1]))
    database.open(upgrade.prepare)
    signer = Signer("log.test", SigningKey(b"l" * 32))
    for number, leaf in enumerate(sys.argv[2:]):
        content = base64.b64decode(leaf)
        await database.write(store.queue, [NewLeaf(transaction_id(parse_settlement(content).job_id), content)])
        print(number, flush=True)
        if number % 3 == 0:
            await database.write(integrate, signer, 1.0)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_kill_loses_no_leaf_and_logs_none_twice(tmp_path: Path) -> None:
    """Every answered leaf is in the log or in the queue, and the log continues from there."""
    path = tmp_path / "coordinator.db"
    written = 0
    for round_number in range(3):
        leaves = [base64.b64encode(settlement(10 * round_number + n).to_leaf()).decode() for n in range(5)]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, path, *leaves],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            stdout=subprocess.PIPE,
            timeout=300,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        written += sum(line.isdigit() for line in done.stdout.split(b"\n"))
    with transaction(path) as connection:
        record, _ = integrate(connection, SIGNER, 1.0)
        assert record is not None
        assert record.size == written == 15
        assert [leaf.reference for leaf in store.leaves(connection, 0, 99)] == [
            f"tx_{10 * round_number + n}" for round_number in range(3) for n in range(5)
        ]
        assert check(connection, SIGNER) == record
