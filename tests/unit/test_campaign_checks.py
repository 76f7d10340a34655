"""A campaign's checks detect every violation that is planted in valid data."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from agent.miner.runs.outbox_database import OutboxDatabase, OutboxEntry
from campaign import checks
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import serve

RESULTS = {"text": "hello", "units": 1.5, "processing_time": 0.5}
SETTLED = "entry = 'settlement' AND tx_id IN (SELECT tx_id FROM transactions WHERE status = 'settled' AND kind = 'payment')"
AGAIN = f"INSERT INTO postings SELECT tx_id, 'again', ledger_account, amount FROM postings WHERE {SETTLED}"  # noqa: S608 - a literal


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The data of a coordinator with a completed, a cancelled and a queued job, and their ids."""
    data_dir = tmp_path_factory.mktemp("original") / "data"
    with serve(data_dir, open_enrolment=True) as served:
        headers = {"Authorization": f"Bearer {served.client_key}"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=120) as client:
            assert client.post("/v1/artifacts", content=b"something").is_success
            miner = ScriptedMiner(served.url)
            assert miner.register().is_success
            jobs = [submit(client, name="completed")]
            (lease,) = miner.poll()
            assert miner.complete(lease, RESULTS).is_success
            jobs += [submit(client, name=name) for name in ("cancelled", "waiting")]
            assert client.delete(f"/v1/jobs/{jobs[1]}").is_success
    return data_dir, jobs


@pytest.fixture
def data_dir(original: tuple[Path, list[str]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(original[0], tmp_path / "data"))


@pytest.fixture
def miner_dir(tmp_path: Path) -> Iterator[Path]:
    """The data of an idle miner."""
    directory = tmp_path / "miner-data" / "miner"
    (directory / "jobs").mkdir(parents=True)
    outbox = OutboxDatabase(directory / "outbox.db")
    outbox.open()
    outbox.close()
    yield directory.parent
    assert (directory / "outbox.db").exists()


def change(data_dir: Path, *statements: str) -> None:
    """Plant a violation."""
    with closing(sqlite3.connect(data_dir / "coordinator" / "coordinator.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement


def test_valid_data_has_no_violations(
    original: tuple[Path, list[str]], data_dir: Path, miner_dir: Path
) -> None:
    """Unfinished jobs are reported only at the end of a campaign."""
    assert checks.examine_database(data_dir, original[1]) == []
    assert checks.examine_files(data_dir) == []
    assert checks.examine_miner(miner_dir) == []
    assert checks.counts(data_dir) == {"completed": 1, "cancelled": 1, "submitted": 1}
    (waiting,) = [violation for violation in checks.examine_end(data_dir) if "leaves" not in violation]
    assert waiting.startswith("jobs that have not ended: 1")


@pytest.mark.parametrize(
    ("violation", "statements"),
    [
        ("accepted and are lost", ["DELETE FROM jobs WHERE name = 'waiting'"]),
        ("accepted twice", ["UPDATE jobs SET name = 'completed'"]),
        ("sum to zero", ["UPDATE postings SET amount = amount + 1 WHERE entry = 'settlement' AND amount > 0"]),
        (
            "settled more than once",
            [AGAIN],
        ),
        ("not the sum of their postings", ["UPDATE balances SET amount = amount + 1"]),
        ("overdrawn", ["UPDATE balances SET amount = -1 WHERE ledger_account LIKE 'available:%'"]),
        ("without a payment", ["DELETE FROM transactions WHERE kind = 'payment'"]),
        ("ended and are not settled", ["UPDATE transactions SET status = 'pending' WHERE status = 'settled'"]),
        ("settled before their end", ["UPDATE transactions SET status = 'settled' WHERE status = 'pending'"]),
        ("differs from the held amount", ["DELETE FROM postings WHERE ledger_account LIKE 'escrow:%' AND entry = 'hold'"]),
        ("earnings", ["UPDATE miner_stats SET earned = earned + 1"]),
        ("exactly one receipt", ["DELETE FROM receipts"]),
        ("exactly one receipt", ["DELETE FROM results"]),
        ("exactly one receipt", ["INSERT INTO runs SELECT job_id, 9, miner_id, 0, 0, 'completed', NULL, NULL FROM runs"]),
        ("jobs that are not completed", ["UPDATE jobs SET state = 'failed' WHERE state = 'completed'"]),
        ("leases of jobs that do not run", ["UPDATE jobs SET lease_session = 1 WHERE state = 'completed'"]),
        ("without a lease", ["UPDATE jobs SET state = 'running' WHERE state = 'submitted'"]),
        ("with a newer fence", ["UPDATE runs SET fence = 9"]),
        ("stored counts of jobs", ["UPDATE job_counts SET count = count + 1"]),
        pytest.param(
            "message to their webhook", ["INSERT INTO job_webhooks SELECT job_id, 'https://example.com/' FROM jobs"],
            marks=pytest.mark.needs("webhooks"),
        ),
    ],
)  # fmt: skip
def test_a_violation_in_the_database_is_detected(
    original: tuple[Path, list[str]], data_dir: Path, violation: str, statements: list[str]
) -> None:
    change(data_dir, *statements)
    assert any(violation in found for found in checks.examine_database(data_dir, original[1]))


def test_a_job_settled_twice_is_detected_by_its_sums(data_dir: Path) -> None:
    """A second settlement with consistent postings and balances leaves too little in escrow."""
    change(
        data_dir,
        f"UPDATE postings SET amount = amount * 2 WHERE {SETTLED}",  # noqa: S608 - a literal
        "UPDATE balances SET amount = (SELECT sum(amount) FROM postings WHERE ledger_account = balances.ledger_account) "
        "WHERE ledger_account IN (SELECT ledger_account FROM postings)",
    )
    assert any("differs from the held amount" in found for found in checks.examine_database(data_dir, ()))


def test_a_violation_in_the_files_is_detected(data_dir: Path) -> None:
    root = data_dir / "coordinator" / "artifacts"
    (blob,) = (path for path in root.glob("[0-9a-f][0-9a-f]/*"))
    blob.write_bytes(b"something else")
    for left in ("incoming/tmp1", "uploads/upload_1", "ab/cd"):
        (root / left).parent.mkdir(exist_ok=True)
        (root / left).touch()
    (data_dir / "coordinator" / "log.new").touch()
    found = "\n".join(checks.examine_files(data_dir))
    for violation in (
        "does not match its name",
        "never finished: tmp1",
        "without a row: upload_1",
        "without a row: ab/cd",
        "log.new",
    ):
        assert violation in found
    blob.unlink()
    assert any("without a file" in violation for violation in checks.examine_files(data_dir))


def test_remains_at_a_miner_are_detected(miner_dir: Path) -> None:
    (miner_dir / "miner" / "jobs" / "job_1_1").mkdir()
    outbox = OutboxDatabase(miner_dir / "miner" / "outbox.db")
    outbox.open()
    outbox.put(OutboxEntry("job_1", 1, "result", {}))
    outbox.close()
    found = checks.examine_miner(miner_dir)
    assert found == ["a job's directory: job_1_1", "an entry in the outbox's entries: ('job_1', 1)"]
