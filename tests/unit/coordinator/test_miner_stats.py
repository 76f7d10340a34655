"""Statistics of miners in a database that is older than them: computed from its runs and payments."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from agent.coordinator.store import miner_stats
from agent.coordinator.store.schema import migrations, upgrade
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.core.market.reputation import HALF_LIFE_SECONDS

OLD = "0003"
MINER = "miner_" + "a" * 26
JOB = {
    "service": "llm_inference", "type": "llm-inference", "name": "old", "spec": "{}", "spec_digest": "", "cpu_millis": 0,
    "memory": 0, "gpus": 0, "priority": 0, "max_cost": 100, "fee_ppm": 0, "created_at": 0.0, "state": "completed",
    "timeout_seconds": 60.0, "max_attempts": 3, "attempts": 1, "progress": 100.0, "units": "1",
}  # fmt: skip


def insert(connection: Connection, table: str, **values: object) -> None:
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)  # noqa: S608 - names from this test


def fill(connection: Connection) -> None:
    """Insert two clients and a miner with three successful runs and two others, one of which may still deliver a result."""
    miner = {
        "public_key": b"1",
        "name": "m",
        "session": 1,
        "session_sha256": "1",
        "capabilities": "{}",
        "telemetry": "[]",
    }
    insert(connection, "miners", miner_id=MINER, registered_at=0.0, seen_at=0.0, **miner)
    for account in ("account_1", "account_2"):
        insert(connection, "accounts", account_id=account, name=account, created_at=0.0)
    runs = [
        ("job_1", "account_1", 1, "completed", 0.0, None),
        ("job_2", "account_1", 1, "retried", 0.0, None),
        ("job_2", "account_1", 2, "completed", 0.0, None),
        ("job_3", "account_1", 1, "released", 0.0, None),
        ("job_4", "account_1", 1, "expired", 0.0, MINER),
        ("job_5", "account_2", 1, "completed", HALF_LIFE_SECONDS, None),
        ("job_6", "account_2", 1, "expired", HALF_LIFE_SECONDS, None),
        ("job_7", "account_2", 1, "failed", HALF_LIFE_SECONDS, None),
    ]
    known = set()
    for job_id, account, fence, outcome, began, lease in runs:
        if job_id not in known:
            insert(
                connection,
                "jobs",
                job_id=job_id,
                account_id=account,
                fence=fence,
                lease_miner_id=lease,
                **JOB,
            )
        known.add(job_id)
        values = {"assigned_at": began, "ended_at": began + 10.0, "outcome": outcome}
        insert(connection, "runs", job_id=job_id, fence=fence, miner_id=MINER, **values)
    paid = {
        "kind": "payment",
        "status": "settled",
        "held": 100,
        "paid": 70,
        "fee": 7,
        "note": "",
        "created_at": 0.0,
        "settled_at": 1.0,
    }
    insert(
        connection,
        "transactions",
        tx_id="tx_1",
        account_id="account_1",
        miner_id=MINER,
        job_id="job_1",
        **paid,
    )


@pytest.fixture
def database(tmp_path: Path) -> SQLiteDatabase:
    """The old database, upgraded."""
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    with create_engine(f"sqlite:///{path}").connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, OLD)
            fill(connection)
    database = SQLiteDatabase(path)
    database.open(upgrade.prepare)
    return database


def test_runs_and_payments_of_an_old_database_are_counted(database: SQLiteDatabase) -> None:
    """Released runs and runs with invalid input do not count, and runs that may still deliver a result are judged later."""
    known = database.read_now(miner_stats.find, MINER)
    totals = database.read_now(miner_stats.totals)
    database.close()
    assert (known.completed, known.failed, known.refused) == (3, 2, 0)
    assert (known.seconds, known.paid, known.earned) == (30.0, 70, 63)
    assert (totals.completed, totals.seconds, totals.paid) == (3, 30.0, 70)
    # The first client's runs are a half-life older than the second's.
    assert (known.evidence.good, known.evidence.bad) == pytest.approx((2 * 0.5 + 1, 1 * 0.5 + 1))
    assert known.evidence.at == HALF_LIFE_SECONDS + 10.0
