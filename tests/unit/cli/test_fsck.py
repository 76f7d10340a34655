"""`aitbc-agent fsck`: accepts a correct log, and reports every change that the coordinator did not make."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from sqlalchemy import delete

from agent.coordinator.features.log import store
from agent.coordinator.features.log.sequencer import PUBLISHED, integrate, leaf_bytes, tree_of
from agent.coordinator.features.log.tables import log_checkpoints, log_cosignatures, log_leaves, log_tiles
from agent.coordinator.signer import Signer, load_signer
from agent.coordinator.store.database import Connection
from agent.coordinator.store.sqlite import database as engine
from aitbc.log import Checkpoint
from aitbc.merkle import leaf_hash, root_hash
from aitbc.notes import sign_note
from support.logged import WITNESS, complete, cosigned, logged, post_cosignature
from support.server import serve

SETTINGS: dict[str, Any] = {"open_enrolment": True, "log_checkpoint_seconds": 0.1, "witnesses": [WITNESS]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a stopped coordinator: twelve leaves, some checkpoints, a cosignature."""
    data = tmp_path_factory.mktemp("fsck") / "data"
    with serve(data, **SETTINGS) as served:
        for _ in range(3):
            logged(served, complete(served, 2))
            assert (
                post_cosignature(
                    served, cosigned(httpx.get(f"{served.url}/v1/log/checkpoint").text)
                ).status_code
                == 200
            )
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "data")


@pytest.fixture
def change(data: Path) -> Callable[..., int]:
    """Return a function that changes the database and returns the number of changed rows."""

    def change(*statements: str) -> int:
        with sqlite3.connect(data / "coordinator" / "coordinator.db") as connection:
            rows = [connection.execute(statement).rowcount for statement in statements]
        connection.close()
        return sum(rows)

    return change


@pytest.fixture
def fsck(run: Any, data: Path) -> Callable[..., list[dict[str, str]]]:
    """Return a function that returns the problems."""

    def fsck(*words: Any) -> list[dict[str, str]]:
        done = run("fsck", "--data-dir", data, "--json", *words)
        answer = json.loads(done.out)
        problems: list[dict[str, str]] = answer["problems"]
        assert (done.code, answer["ok"]) == ((3, False) if problems else (0, True))
        return problems

    return fsck


def kinds_and_locations(problems: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(problem["kind"], problem["where"]) for problem in problems}


def test_a_correct_log_passes_on_a_copy_and_is_not_changed(run: Any, data: Path) -> None:
    before = (data / "coordinator" / "coordinator.db").read_bytes()
    done = run("fsck", "--data-dir", data)
    assert (done.code, done.out.splitlines()[-1]) == (0, "ok")
    answer = json.loads(run("fsck", "--data-dir", data, "--json").out)
    counts = {name: answer[name] for name in ("leaves", "waiting", "receipts", "settlements", "cosignatures")}
    assert counts == {"leaves": 12, "waiting": 0, "receipts": 6, "settlements": 6, "cosignatures": 3}
    assert (data / "coordinator" / "coordinator.db").read_bytes() == before


def test_it_runs_while_the_agent_is_running(run: Any, data: Path) -> None:
    with serve(data, **SETTINGS) as served:
        complete(served, 1)
        answer = json.loads(run("fsck", "--data-dir", data, "--json").out)
        assert (answer["ok"], answer["leaves"] + answer["waiting"]) == (True, 14)


def test_the_public_key_suffices(run: Any, fsck: Any, data: Path) -> None:
    vkey = load_signer(data / "coordinator" / "log.key", None).vkey
    (data / "coordinator" / "log.key").unlink()
    assert run("fsck", "--data-dir", data).code == 1
    assert fsck("--log-key", vkey) == []


def test_a_changed_settlement_is_a_changed_leaf(fsck: Any, change: Any) -> None:
    assert (
        change(
            """UPDATE log_leaves SET content = replace(content, '"fee":"0"', '"fee":"0.00001"') WHERE leaf_index = 4"""
        )
        == 1
    )
    problems = fsck()
    assert ("leaf", "leaf 4") in kinds_and_locations(problems)
    assert {kind for kind, _ in kinds_and_locations(problems)} == {"leaf", "settlement"}


def test_a_changed_receipt_is_a_changed_leaf_and_an_invalid_receipt(fsck: Any, change: Any) -> None:
    assert (
        change('UPDATE receipts SET receipt = replace(receipt, \'"sig":"\', \'"sig":"A\') WHERE rowid = 2')
        == 1
    )
    problems = fsck()
    assert {kind for kind, _ in kinds_and_locations(problems)} == {"leaf", "receipt"}
    assert any("its hash is not the one that was signed" in problem["message"] for problem in problems)


def test_changed_results_and_attestations_are_found(fsck: Any, change: Any) -> None:
    assert change("UPDATE results SET results = replace(results, '12.5', '13.5') WHERE rowid = 1") == 1
    (problem,) = fsck()
    assert problem["kind"] == "receipt"
    assert "results: SHA-256 differs" in problem["message"]


def test_a_receipt_without_a_leaf_is_reported(fsck: Any, change: Any) -> None:
    """The last leaf is deleted, and the tree shortened."""
    assert change("DELETE FROM log_leaves WHERE leaf_index = 11") == 1
    problems = kinds_and_locations(fsck())
    assert {kind for kind, _ in problems} == {"truncated", "unlogged"}
    assert any(where.startswith("receipt_") for _, where in problems)


def test_a_leaf_missing_in_the_middle_is_reported(fsck: Any, change: Any) -> None:
    assert change("DELETE FROM log_leaves WHERE leaf_index = 5") == 1
    assert ("leaf", "leaf 5") in kinds_and_locations(fsck())


def test_a_deleted_receipt_is_reported_by_its_leaf(fsck: Any, change: Any) -> None:
    assert change("DELETE FROM receipts WHERE rowid = 1") == 1
    problems = fsck()
    assert {kind for kind, _ in kinds_and_locations(problems)} == {"leaf", "receipt"}
    assert any("is missing" in problem["message"] for problem in problems)
    assert any("is completed, but has no receipt" in problem["message"] for problem in problems)


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("UPDATE log_tiles SET hashes = zeroblob(384)", {"tile"}),
        ("UPDATE log_tiles SET hashes = substr(hashes, 1, 320)", {"tile"}),
        ("UPDATE log_tiles SET hashes = CAST(hashes || zeroblob(32) AS BLOB)", {"truncated"}),
        ("INSERT INTO log_tiles VALUES (1, 0, zeroblob(32))", {"tile"}),
        ("DELETE FROM log_tiles", {"tile"}),
        ("UPDATE log_cosignatures SET timestamp = 7", {"cosignature"}),
        ("UPDATE log_cosignatures SET line = replace(line, 'w1', 'w2')", {"cosignature"}),
        (
            "UPDATE log_checkpoints SET note = replace(note, '\n12\n', '\n13\n')",
            {"checkpoint", "cosignature"},
        ),
        ("UPDATE balances SET amount = amount + 1 WHERE ledger_account = 'fees'", {"ledger"}),
        ("UPDATE transactions SET paid = 1 WHERE rowid = 3", {"settlement"}),
        ("UPDATE postings SET amount = amount + 1 WHERE rowid = 3", {"ledger"}),
    ],
)
def test_every_other_part_is_checked(fsck: Any, change: Any, statement: str, kinds: set[str]) -> None:
    if "fees" in statement:
        change("INSERT OR IGNORE INTO balances VALUES ('fees', 0, 0)")
    assert change(statement) > 0
    assert {kind for kind, _ in kinds_and_locations(fsck())} == kinds


def _rewritten(connection: Connection, signer: Signer, keep: int) -> None:
    """Replace the log from leaf `keep` on by another consistent one, as an operator with the key could."""
    rows = store.leaves(connection, 0, 100)
    for table in (log_leaves, log_tiles, log_cosignatures, log_checkpoints):
        connection.execute(delete(table))
    shuffled = rows[:keep] + rows[keep:][::-1]
    for row in shuffled:
        values = {"reference": row.reference, "hash": leaf_hash(leaf_bytes(row)), "content": row.content}
        connection.exec_driver_sql(
            "INSERT INTO log_queue (reference, leaf_hash, content) VALUES (:reference, :hash, :content)",
            values,
        )
    integrate(connection, signer, 0.0)


def _with_database(data: Path, work: Callable[[Connection, Signer], None]) -> None:
    signer = load_signer(data / "coordinator" / "log.key", None)
    made = engine._engine(data / "coordinator" / "coordinator.db", readers=1, read_only=False)
    with made.connect() as connection, connection.begin():
        work(connection, signer)
    made.dispose()


def test_a_forked_log_is_detected_by_its_own_checkpoints(fsck: Any, data: Path) -> None:
    """Two checkpoints are signed with the log's key, and the second does not extend the first."""

    def fork(connection: Connection, signer: Signer) -> None:
        note = str(sign_note(Checkpoint(signer.origin, 5, b"f" * 32).text, signer.origin, signer.key))
        store.add_checkpoint(connection, store.CheckpointRecord(5, b"f" * 32, note, 0.0, 0))

    _with_database(data, fork)
    (problem,) = fsck()
    assert (problem["kind"], problem["where"]) == ("forked", "checkpoint of 5 leaves")


def test_a_log_rewritten_with_its_key_contradicts_its_published_checkpoints(
    fsck: Any, data: Path, tmp_path: Path
) -> None:
    """The database is consistent, but the published checkpoint and one that a third party has stored contradict it."""
    retained = tmp_path / "retained"
    shutil.copy(data / "coordinator" / PUBLISHED, retained)
    _with_database(data, lambda connection, signer: _rewritten(connection, signer, 3))
    assert kinds_and_locations(fsck()) == {("forked", PUBLISHED)}
    (data / "coordinator" / PUBLISHED).unlink()
    assert fsck() == []
    assert kinds_and_locations(fsck("--checkpoint", retained)) == {("forked", str(retained))}


def test_a_log_truncated_with_its_key_contradicts_its_published_checkpoints(fsck: Any, data: Path) -> None:
    def cut(connection: Connection, signer: Signer) -> None:
        _rewritten(connection, signer, 12)
        for statement in (
            "DELETE FROM log_leaves WHERE leaf_index >= 10",
            "DELETE FROM log_checkpoints",
            "UPDATE log_tiles SET hashes = substr(hashes, 1, 320)",
        ):
            connection.exec_driver_sql(statement)
        root = root_hash(tree_of(connection, 10), 10)
        note = str(sign_note(Checkpoint(signer.origin, 10, root).text, signer.origin, signer.key))
        store.add_checkpoint(connection, store.CheckpointRecord(10, root, note, 0.0, 0))

    _with_database(data, cut)
    problems = fsck()
    assert ("truncated", PUBLISHED) in kinds_and_locations(problems)
    assert {kind for kind, _ in kinds_and_locations(problems)} == {"truncated", "unlogged"}


def test_a_checkpoint_of_another_log_is_reported(run: Any, fsck: Any, data: Path) -> None:
    stranger = Signer("stranger.test", SigningKey(b"s" * 32))
    note = str(sign_note(Checkpoint(stranger.origin, 3, b"r" * 32).text, stranger.origin, stranger.key))
    (data / "coordinator" / PUBLISHED).write_text(note)
    assert kinds_and_locations(fsck()) == {("checkpoint", PUBLISHED)}
    (data / "coordinator" / PUBLISHED).write_text("nonsense")
    assert kinds_and_locations(fsck()) == {("checkpoint", PUBLISHED)}
    assert run("fsck", "--data-dir", data, "--checkpoint", data / "agent.toml").code == 1


def test_another_kind_of_database_is_refused(run: Any, data: Path, change: Any, tmp_path: Path) -> None:
    assert run("fsck", "--data-dir", tmp_path / "none").code == 1
    change("UPDATE alembic_version SET version_num = '9999'")
    change("PRAGMA user_version = 9999")
    done = run("fsck", "--data-dir", data)
    assert done.code == 1
    assert "schema 9999" in done.err
    (data / "coordinator" / "coordinator.db").write_bytes(b"nonsense" * 1000)
    done = run("fsck", "--data-dir", data)
    assert done.code == 1
    assert "cannot be read" in done.err
