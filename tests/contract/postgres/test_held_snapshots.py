"""Queries of every round, while a transaction of another program holds a snapshot and the server keeps what jobs leave behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, text

from agent.coordinator.features.log import store as log
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.machines.store import awaited_models
from agent.coordinator.features.replicas.store import unfinished
from agent.coordinator.features.replicas.store.unfinished import Unfinished
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.operations import folding
from agent.coordinator.operations.context import Context
from agent.coordinator.store import (
    changed_balances,
    counts,
    ledger,
    queue,
    receipts,
    running,
)
from agent.core.values.quantities import make_id
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served, serve
from support.servers.held_snapshots import (
    ENDED,
    FEW,
    RESULTS,
    complete,
    counted,
    counted_knowing,
    held_snapshot,
)

pytestmark = pytest.mark.system


def _running(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of running jobs by account and by miner."""
    account_ids = list(connection.execute(text("SELECT account_id FROM accounts")).scalars())
    miner_ids = list(connection.execute(text("SELECT miner_id FROM miners")).scalars())
    found = running.numbers(connection, account_ids)
    by_miner = running.leases_of(connection, miner_ids) if found.by_miner is None else found.by_miner
    return dict(found.by_account), dict(by_miner)


QUERIES: dict[str, Callable[[Connection], Any]] = {
    "waiting": lambda connection: {job.job_id for job in queue.waiting(connection, [])},
    "running": _running,
    "expired": lambda connection: {job.job_id for job in running.expired(connection, 2.0**33)},
    "due": lambda connection: running.anything_due(connection, 2.0**33, 0.0),
    "awaited models": lambda connection: awaited_models(connection, 10),
    "lengths": lambda connection: dict(receipts.queue_lengths(connection)),
}


async def _nothing(_: Context) -> None:
    pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Run a coordinator whose recent parts only the test folds."""
    monkeypatch.setattr(folding, "fold_changes", _nothing)
    monkeypatch.setattr(miner_stats, "anything_recent", lambda _: False)
    with serve(tmp_path, open_enrolment=True) as served:
        yield served


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_passes_only_jobs_that_are_recent_or_unfinished(
    served: Served, client: httpx.Client, name: str
) -> None:
    """And it finds the same jobs as without what is known."""
    miner = ScriptedMiner(served.url)
    assert miner.register().is_success
    submit(client)
    assert len(miner.poll()) == 1  # runs all the time
    able = capabilities()
    able["services"]["whisper_transcription"]["models"] = ["large-v3"]
    assert ScriptedMiner(served.url).register(capabilities=able).is_success
    waits = submit(client, model="large-v3")
    with held_snapshot(served):
        complete(served, client, miner)
        known = served.context.database.read_now(unfinished.scan, make_id("job", time.time() + 1, bytes(10)))
        assert waits in known.older
        assert len(known.older) == 2
        answer, entries = counted_knowing(served, known, "jobs", QUERIES[name])
        everything, _ = counted_knowing(served, None, "jobs", QUERIES[name])
        assert answer == everything
        assert entries <= FEW
        later = make_id("job", time.time() + 2, bytes(10))
        assert served.context.database.read_now(unfinished.scan, later, known) == Unfinished(
            known.older, later
        )
        recent = Unfinished((), "")
        assert counted_knowing(served, recent, "jobs", QUERIES[name])[0] == everything


def test_what_is_known_of_unfinished_jobs_follows_them(served: Served, client: httpx.Client) -> None:
    """Two scans of what has changed find the same as one of everything."""
    scan = served.context.database.read_now
    miner = ScriptedMiner(served.url)
    assert miner.register().is_success
    first, second = submit(client), submit(client)
    known = scan(unfinished.scan, second)
    assert known == Unfinished((first,), second)
    (lease,) = miner.poll()
    assert miner.complete(lease, RESULTS).status_code == 200
    third = submit(client)
    assert scan(unfinished.scan, third, known) == scan(unfinished.scan, third) == Unfinished((second,), third)


def test_many_unfinished_jobs_are_found_in_the_indexes(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "MOST", 2)
    scan = lambda: served.context.database.read_now(unfinished.scan, "job_~")  # noqa: E731
    ids = [submit(client) for _ in range(2)]
    assert scan() == Unfinished(tuple(ids), "job_~")
    submit(client)
    assert scan() is None


def test_numbers_are_read_without_their_former_parts(served: Served, client: httpx.Client) -> None:
    """Parts of earlier seconds, each with nothing in it, are passed until they are folded."""
    miner = ScriptedMiner(served.url)
    assert miner.register().is_success
    account = client.get("/v1/wallet").json()["account_id"]
    reads: dict[str, tuple[Callable[..., Any], str]] = {
        "balances": (ledger.balance, f"earned:{miner.miner_id}"),
        "recent_job_counts": (_total, account),
        "recent_work": (miner_stats.find, miner.miner_id),
    }
    complete(served, client, miner)
    before = {table: counted(served, table, *query)[0] for table, query in reads.items()}
    assert before["recent_job_counts"] == before["recent_work"].completed == ENDED
    with held_snapshot(served):
        _add_earlier_parts(served)
        assert all(counted(served, table, *query)[1] >= 200 for table, query in reads.items())
        for fold in (counts.fold, changed_balances.fold, miner_stats.fold):
            served.do(lambda context, fold=fold: context.database.write(fold))
        for table, query in reads.items():
            answer, entries = counted(served, table, *query)
            assert (answer, entries < 100) == (before[table], True), table


def _total(connection: Connection, account_id: str) -> int:
    return counts.total(connection, account_id=account_id)


def _add_earlier_parts(served: Served) -> None:
    statements = (
        (
            "INSERT INTO balances SELECT ledger_account, min(part) - 16 * n, 0 "
            "FROM balances, generate_series(50, 249) AS n WHERE part > 160000016 GROUP BY ledger_account, n"
        ),
        (
            "INSERT INTO recent_job_counts (account_id, service, state, part, change) "
            "SELECT account_id, service, state, min(part) - n, 0 "
            "FROM recent_job_counts, generate_series(50, 249) AS n GROUP BY account_id, service, state, n"
        ),
        (
            "INSERT INTO recent_work (part, miner_id, account_id, completed, failed, client_failed, refused, seconds, paid, earned, weight, done_at) "
            "SELECT part - n, miner_id, account_id, 0, 0, 0, 0, 0, 0, 0, 1, done_at "
            "FROM (SELECT * FROM recent_work LIMIT 1) AS one, generate_series(50, 249) AS n"
        ),
    )
    with psycopg.connect(served.context.database.server.url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_the_log_s_queue_is_read_behind_what_was_numbered(served: Served, client: httpx.Client) -> None:
    miner = ScriptedMiner(served.url)
    assert miner.register().is_success
    with held_snapshot(served):
        complete(served, client, miner)
        served.do(lambda context: context.database.write(integrate, context.signer, time.time()))
        with psycopg.connect(served.context.database.server.url) as connection:
            last = "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence('log_queue', 'entry_id') AS regclass))"
            ((newest,),) = connection.execute(last).fetchall()
        assert counted(served, "log_queue", log.first_queued)[1] >= ENDED
        assert counted(served, "log_queue", log.first_queued, newest) == (None, 0)
        assert counted(served, "log_queue", log.queued, 10, newest) == ([], 0)


def test_changes_are_seen_after_the_server_s_clock_was_set_back(served: Served, client: httpx.Client) -> None:
    miner = ScriptedMiner(served.url)
    assert miner.register().is_success
    account = client.get("/v1/wallet").json()["account_id"]
    earned = f"earned:{miner.miner_id}"
    future = (
        "INSERT INTO recent_parts SELECT name, factor * (extract(epoch FROM now())::bigint / 10 + 360) FROM "
    )
    names = "(VALUES ('balances', 16), ('job_counts', 1), ('work', 1)) AS known (name, factor) ON CONFLICT (name) DO UPDATE SET first = excluded.first"
    served.do(lambda context: context.database.write(changed_balances.fold, everything=True))
    with psycopg.connect(served.context.database.server.url) as connection:
        connection.execute((future + names).encode())

    def check() -> None:
        read = served.context.database.read_now
        assert read(ledger.balance, earned) == read(ledger.balances_of, [earned])[earned] > 0
        assert read(_total, account) == read(miner_stats.find, miner.miner_id).completed == ENDED

    complete(served, client, miner)
    check()
    for fold in (counts.fold, changed_balances.fold, miner_stats.fold):
        served.do(lambda context, fold=fold: context.database.write(fold))
    check()
    assert served.context.database.read_now(ledger.problems) == []
