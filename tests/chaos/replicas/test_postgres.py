"""PostgreSQL: long concurrent histories, and a server that is killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from agent.coordinator.features.replicas.store.connecting import ServerLimits
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store import access
from agent.coordinator.store.schema import tables, upgrade
from agent.core.errors import ServiceUnavailable
from support import server as support_server
from support.histories.crowd import Crowd
from support.server import serve
from support.servers import postgres
from support.servers.databases import ENGINE

pytestmark = pytest.mark.chaos

STEPS = int(os.environ.get("CROWD_STEPS", "4000"))
"""Steps of a history. 20,000 take about three minutes on two processors."""
numbers = itertools.count(1)


def test_money_numbers_receipts_and_the_log_agree_after_a_long_concurrent_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE, "postgresql")
    monkeypatch.setattr(support_server, "LIMIT_SECONDS", 1000)
    with serve(tmp_path / "data", open_enrolment=True) as served:
        crowd = Crowd(served.context, seed=STEPS, steps=STEPS)
        served.do(lambda _: crowd.play())
        served.do(lambda _: crowd.check())
        assert sum(crowd.done.values()) == STEPS


def add_account(connection: Connection, account_id: str) -> str:
    access.add_account(connection, account_id, "Ada", 0.0)
    return account_id


def account_ids(connection: Connection) -> list[str]:
    return list(
        connection.scalars(select(tables.accounts.c.account_id).order_by(tables.accounts.c.account_id))
    )


def test_a_crash_of_the_server_loses_no_answered_change(tmp_path: Path) -> None:
    """Writes and reads from many tasks, while the server is killed without a checkpoint and starts again.

    Only a change whose commit the crash interrupted may be answered with the error that its outcome is unknown.
    """
    unknown: list[str] = []
    errors: set[str] = set()

    async def work(database: PostgresDatabase, server: postgres.Server) -> list[str]:
        stored: list[str] = []
        busy = asyncio.Event()

        async def client() -> None:
            for _ in range(40):
                account_id = f"account_{next(numbers):06}"
                try:
                    stored.append(await database.write(add_account, account_id))
                except ServiceUnavailable as error:
                    errors.add(str(error))
                    unknown.append(account_id)
                    continue
                if len(stored) > 40:
                    busy.set()
                assert account_id in await database.read(account_ids)

        async def restart() -> None:
            await busy.wait()
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            await asyncio.to_thread(server.start)

        await asyncio.gather(restart(), *(client() for _ in range(8)))
        return stored

    with postgres.running() as server:
        database = PostgresDatabase(server.new_database(), directory=tmp_path, limits=ServerLimits(retry=60))
        database.open(upgrade.prepare)
        stored = asyncio.run(work(database, server))
        found = set(database.read_now(account_ids))
        assert set(stored) <= found <= {*stored, *unknown}
        assert len(stored) == len(set(stored))
        assert len(stored) + len(unknown) == 320
        assert len(unknown) <= 8  # one of each client
        assert all("whether a change was stored" in error for error in errors)
        database.close()
