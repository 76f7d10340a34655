"""What features store about jobs, after an upgrade of a database in which the jobs' own rows had it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData, Table, create_engine, event, insert, inspect, select

import agent.coordinator.installed  # noqa: F401 - the features' hooks
from agent.coordinator import hooks
from agent.coordinator.features.replicas.store.prepared import PostgresStatement
from agent.coordinator.hooks import View
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store.concurrency import LANE
from agent.coordinator.store.prepared import STATEMENTS
from agent.coordinator.store.schema import migrations, upgrade
from support.servers import postgres

URL = "https://example.com/hooks"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database."""
    if request.param == "sqlite":
        yield create_engine(f"sqlite:///{tmp_path / 'coordinator.db'}")
        return
    url = postgres.shared().new_database("template0")
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url),
        execution_options={STATEMENTS: PostgresStatement},
    )
    event.listen(engine, "connect", lambda _, record: record.info.update({LANE: 0}))
    yield engine
    engine.dispose()
    postgres.shared().drop(url)


def migrate(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def older(engine: Engine, name: str) -> Table:
    """A table as the database has it."""
    return Table(name, MetaData(), autoload_with=engine)


def job(job_id: str, **options: object) -> dict[str, object]:
    return {
        "job_id": job_id, "account_id": "account_1", "service": "whisper", "type": "whisper", "name": "a", "spec": "{}",
        "spec_digest": "0", "cpu_millis": 0, "memory": 0, "gpus": 0, "priority": 0, "max_cost": 1, "fee_ppm": 0, "created_at": 0.0,
        "state": "submitted", "timeout_seconds": 60.0, "max_attempts": 3, "attempts": 0, "fence": 0, "progress": 0.0, "units": "0",
        "webhook_url": None, "labels": None, "audit_hold": None, "restrictions": None, **options,
    }  # fmt: skip


@pytest.mark.needs("webhooks")
@pytest.mark.needs("audits")
def test_options_of_jobs_move_into_the_tables_of_their_features(engine: Engine) -> None:
    migrate(engine, "0030")
    with engine.begin() as connection:
        account = {"account_id": "account_1", "name": "Ada", "created_at": 0.0}
        connection.execute(insert(older(engine, "accounts")), account)
        jobs = [
            job(
                "job_1",
                webhook_url=URL,
                labels='{"b":"2","a":"1"}',
                audit_hold=5,
                restrictions='{"audited":true}',
            ),
            job("job_2"),
        ]
        connection.execute(insert(older(engine, "jobs")), jobs)
        labels = [
            {"job_id": "job_1", "account_id": "account_1", "key": key, "value": value}
            for key, value in (("b", "2"), ("a", "1"))
        ]
        connection.execute(insert(older(engine, "job_labels")), labels)
    with engine.connect() as connection:
        upgrade.prepare(connection)
    with engine.connect() as connection, connection.begin():
        records = list(job_store.find_many(connection, ("job_1", "job_2")).values())
        assert hooks.describe_jobs(connection, records, View.OPTIONS) == {
            "job_1": {"labels": {"a": "1", "b": "2"}, "webhook_url": URL, "audited": True},
            "job_2": {},
        }
        assert {record.job_id: record.held for record in records} == {"job_1": 6, "job_2": 1}
        assert hooks.describe_jobs(connection, records, View.STATUS) == {
            "job_1": {"labels": {"a": "1", "b": "2"}},
            "job_2": {},
        }
        assert connection.execute(select(older(engine, "job_webhooks"))).all() == [("job_1", URL)]
    columns = {column["name"] for column in inspect(engine).get_columns("jobs")}
    assert columns.isdisjoint({"webhook_url", "labels", "audit_hold"})
