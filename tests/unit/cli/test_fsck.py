"""`aitbc-agent fsck`: an honest log passes, and whatever was changed behind the coordinator's back is found and named."""

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

from agent.coordinator.operations.log.log_key import load_signer
from agent.coordinator.sequencer import PUBLISHED, LogSigner, integrate, leaf_bytes, tree_of
from agent.coordinator.store import log as store
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema.tables import log_checkpoints, log_cosignatures, log_leaves, log_tiles
from agent.coordinator.store.sqlite import database as engine
from aitbc.log import Checkpoint
from aitbc.merkle import leaf_hash, root_hash
from aitbc.notes import sign_note
from support.logged import WITNESS, brought, complete, cosigned, logged
from support.server import serve

SETTINGS: dict[str, Any] = {"open_enrolment": True, "log_checkpoint_seconds": 0.1, "witnesses": [WITNESS]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a coordinator that ended: twelve leaves, some checkpoints, a cosignature."""
    data = tmp_path_factory.mktemp("fsck") / "data"
    with serve(data, **SETTINGS) as served:
        for _ in range(3):
            logged(served, complete(served, 2))
            assert (
                brought(served, cosigned(httpx.get(f"{served.url}/v1/log/checkpoint").text)).status_code
                == 200
            )
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(made, tmp_path / "data")


@pytest.fixture
def change(data: Path) -> Callable[..., int]:
    """Change the database; returns how many rows did."""

    def change(*statements: str) -> int:
        with sqlite3.connect(data / "coordinator" / "coordinator.db") as connection:
            rows = [connection.execute(statement).rowcount for statement in statements]
        connection.close()
        return sum(rows)

    return change


@pytest.fixture
def fsck(run: Any, data: Path) -> Callable[..., list[dict[str, str]]]:
    """The problems."""

    def fsck(*words: Any) -> list[dict[str, str]]:
        done = run("fsck", "--data-dir", data, "--json", *words)
        answer = json.loads(done.out)
        problems: list[dict[str, str]] = answer["problems"]
        assert (done.code, answer["ok"]) == ((3, False) if problems else (0, True))
        return problems

    return fsck


def told(problems: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(problem["kind"], problem["where"]) for problem in problems}


def test_an_honest_log_passes_on_a_copy_and_nothing_is_written(run: Any, data: Path) -> None:
    before = (data / "coordinator" / "coordinator.db").read_bytes()
    done = run("fsck", "--data-dir", data)
    assert (done.code, done.out.splitlines()[-1]) == (0, "ok")
    answer = json.loads(run("fsck", "--data-dir", data, "--json").out)
    counts = {name: answer[name] for name in ("leaves", "waiting", "receipts", "settlements", "cosignatures")}
    assert counts == {"leaves": 12, "waiting": 0, "receipts": 6, "settlements": 6, "cosignatures": 3}
    assert (data / "coordinator" / "coordinator.db").read_bytes() == before


def test_it_may_run_beside_the_agent(run: Any, data: Path) -> None:
    with serve(data, **SETTINGS) as served:
        complete(served, 1)
        answer = json.loads(run("fsck", "--data-dir", data, "--json").out)
        assert (answer["ok"], answer["leaves"] + answer["waiting"]) == (True, 14)


def test_without_the_key_its_public_part_will_do(run: Any, fsck: Any, data: Path) -> None:
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
    assert ("leaf", "leaf 4") in told(problems)
    assert {kind for kind, _ in told(problems)} == {"leaf", "settlement"}


def test_a_changed_receipt_is_a_changed_leaf_and_an_invalid_receipt(fsck: Any, change: Any) -> None:
    assert (
        change('UPDATE receipts SET receipt = replace(receipt, \'"sig":"\', \'"sig":"A\') WHERE rowid = 2')
        == 1
    )
    problems = fsck()
    assert {kind for kind, _ in told(problems)} == {"leaf", "receipt"}
    assert any("does not have the hash that was signed" in problem["message"] for problem in problems)


def test_changed_results_and_attestations_are_found(fsck: Any, change: Any) -> None:
    assert change("UPDATE results SET results = replace(results, '12.5', '13.5') WHERE rowid = 1") == 1
    (problem,) = fsck()
    assert problem["kind"] == "receipt"
    assert "results: SHA-256 differs" in problem["message"]


def test_a_receipt_without_leaf_is_named(fsck: Any, change: Any) -> None:
    """Somebody wanted it forgotten: the last leaf is gone, and the tree shortened."""
    assert change("DELETE FROM log_leaves WHERE leaf_index = 11") == 1
    problems = told(fsck())
    assert {kind for kind, _ in problems} == {"truncated", "unlogged"}
    assert any(where.startswith("receipt_") for _, where in problems)


def test_a_leaf_missing_in_the_middle_is_named(fsck: Any, change: Any) -> None:
    assert change("DELETE FROM log_leaves WHERE leaf_index = 5") == 1
    assert ("leaf", "leaf 5") in told(fsck())


def test_a_deleted_receipt_is_named_by_its_leaf(fsck: Any, change: Any) -> None:
    assert change("DELETE FROM receipts WHERE rowid = 1") == 1
    problems = fsck()
    assert {kind for kind, _ in told(problems)} == {"leaf", "receipt"}
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
def test_every_other_part_is_compared(fsck: Any, change: Any, statement: str, kinds: set[str]) -> None:
    if "fees" in statement:
        change("INSERT OR IGNORE INTO balances VALUES ('fees', 0)")
    assert change(statement) > 0
    assert {kind for kind, _ in told(fsck())} == kinds


def _rewritten(connection: Connection, signer: LogSigner, keep: int) -> None:
    """What an operator could do who has the key: another log from leaf `keep` on, consistent in itself."""
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


def _with_database(data: Path, work: Callable[[Connection, LogSigner], None]) -> None:
    signer = load_signer(data / "coordinator" / "log.key", None)
    made = engine._engine(data / "coordinator" / "coordinator.db", readers=1, read_only=False)
    with made.connect() as connection, connection.begin():
        work(connection, signer)
    made.dispose()


def test_a_forked_log_is_found_by_its_own_checkpoints(fsck: Any, data: Path) -> None:
    """Two checkpoints, both signed with the log's key, of which the second does not continue the first."""

    def fork(connection: Connection, signer: LogSigner) -> None:
        note = str(sign_note(Checkpoint(signer.origin, 5, b"f" * 32).text, signer.origin, signer.key))
        store.add_checkpoint(connection, store.CheckpointRecord(5, b"f" * 32, note, 0.0, 0))

    _with_database(data, fork)
    (problem,) = fsck()
    assert (problem["kind"], problem["where"]) == ("forked", "checkpoint of 5 leaves")


def test_a_log_rewritten_with_its_key_is_found_by_what_was_given_away(
    fsck: Any, data: Path, tmp_path: Path
) -> None:
    """The database agrees with itself; the published checkpoint does not, nor does one that somebody kept."""
    kept = tmp_path / "kept"
    shutil.copy(data / "coordinator" / PUBLISHED, kept)
    _with_database(data, lambda connection, signer: _rewritten(connection, signer, 3))
    assert told(fsck()) == {("forked", PUBLISHED)}
    (data / "coordinator" / PUBLISHED).unlink()
    assert fsck() == []
    assert told(fsck("--checkpoint", kept)) == {("forked", str(kept))}


def test_a_log_cut_short_with_its_key_is_found_by_what_was_given_away(fsck: Any, data: Path) -> None:
    def cut(connection: Connection, signer: LogSigner) -> None:
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
    assert ("truncated", PUBLISHED) in told(problems)
    assert {kind for kind, _ in told(problems)} == {"truncated", "unlogged"}


def test_a_checkpoint_of_another_log_is_told(run: Any, fsck: Any, data: Path) -> None:
    stranger = LogSigner("stranger.test", SigningKey(b"s" * 32))
    note = str(sign_note(Checkpoint(stranger.origin, 3, b"r" * 32).text, stranger.origin, stranger.key))
    (data / "coordinator" / PUBLISHED).write_text(note)
    assert told(fsck()) == {("checkpoint", PUBLISHED)}
    (data / "coordinator" / PUBLISHED).write_text("nonsense")
    assert told(fsck()) == {("checkpoint", PUBLISHED)}
    assert run("fsck", "--data-dir", data, "--checkpoint", data / "agent.toml").code == 1


def test_what_is_no_database_of_this_program_is_said(
    run: Any, data: Path, change: Any, tmp_path: Path
) -> None:
    assert run("fsck", "--data-dir", tmp_path / "none").code == 1
    change("UPDATE alembic_version SET version_num = '9999'")
    done = run("fsck", "--data-dir", data)
    assert done.code == 1
    assert "schema 9999" in done.err
    (data / "coordinator" / "coordinator.db").write_bytes(b"nonsense" * 1000)
    done = run("fsck", "--data-dir", data)
    assert done.code == 1
    assert "cannot be read" in done.err
