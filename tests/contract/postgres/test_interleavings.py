"""Calls that overlap on PostgreSQL: the one that loses gets the same answer as if it had come later."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from agent.coordinator import hooks, lifecycle
from agent.coordinator.dispatch import claims
from agent.coordinator.features.job_logs import store as job_logs
from agent.coordinator.features.log import store as log_store
from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.replicas.store import database as engine
from agent.coordinator.features.replicas.store.failures import classify
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.throttling import store as throttling
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.miners import leases
from agent.coordinator.port import candidate_of
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import changed_balances, counts, ledger, locks
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store.locks import LANES
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER, submit
from support.recent import fold_everything
from support.server import Served, serve
from support.servers.interleaving import overlapping

pytestmark = pytest.mark.system

RESULTS = {"text": "hello", "units": 1.5}
names = itertools.count()


class Desk:
    """A coordinator, an account with little money, and calls to it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.url = served.context.database.server.url
        self.client = self.http(served.client_key)
        self.admin = self.http(served.admin_key)

    def http(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.served.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)

    def account(self, amount: str) -> tuple[str, httpx.Client]:
        """Create an account with this credit."""
        account_id = self.admin.post("/v1/admin/accounts", json={"name": f"a{next(names)}"}).json()[
            "account_id"
        ]
        self.admin.post(f"/v1/admin/accounts/{account_id}/credit", json={"amount": amount})
        request = {"role": "client", "name": "k", "account_id": account_id}
        return account_id, self.http(self.admin.post("/v1/admin/keys", json=request).json()["key"])

    def submission(
        self, client: httpx.Client, max_cost: str = "1", **headers: str
    ) -> Callable[[], httpx.Response]:
        """Return a call that submits a job."""
        body = {**WHISPER, "pricing": {"max_cost": max_cost}}
        return lambda: client.post("/v1/services/whisper/transcribe", json=body, headers=headers)

    def overlap(
        self, first: Callable[[], Any], second: Callable[[], Any], step: Any, *, after: bool = False
    ) -> list[Any]:
        return list(overlapping(self.url, first, second, step, after=after))

    def write(self, function: Any, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        return lambda: self.served.do(lambda context: context.database.write(function, *args, **kwargs))

    def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.served.context.database.read_now(function, *args, **kwargs)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def miner(self) -> ScriptedMiner:
        miner = ScriptedMiner(self.served.url)
        assert miner.register().is_success
        return miner

    def leased(self, miner: ScriptedMiner, client: httpx.Client | None = None) -> dict[str, Any]:
        """Submit a job and have the miner get it."""
        job_id = submit(client or self.client)
        (lease,) = miner.poll()
        assert lease["job_id"] == job_id
        return lease

    def state(self, job_id: str) -> str:
        return str(self.rows("SELECT state FROM jobs WHERE job_id = %s", job_id)[0][0])

    def check(self) -> None:
        """Check that money, numbers, receipts and the log agree."""
        signer = self.served.context.signer
        self.write(integrate, signer, time.time())()
        found = self.read(examine, signer.vkey, {}, EXAMINERS)
        assert found.problems == []
        self.served.do(fold_everything)
        counted = self.rows("SELECT state, sum(count) FROM job_counts GROUP BY 1 HAVING sum(count) != 0")
        assert dict(counted) == dict(self.rows("SELECT state, count(*) FROM jobs GROUP BY 1"))
        assert (
            self.rows(
                "SELECT job_id FROM log_leaves JOIN transactions ON tx_id = reference GROUP BY 1 HAVING count(*) > 1"
            )
            == []
        )


@contextmanager
def open_desk(directory: Path, **settings: Any) -> Iterator[Desk]:
    with serve(directory, open_enrolment=True, **settings) as served:
        yield Desk(served)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path / "data") as desk:
        yield desk


def statuses(answers: list[Any]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def test_two_jobs_do_not_spend_the_same_money(desk: Desk) -> None:
    account_id, client = desk.account("100")
    step = (job_store, "add")
    answers = desk.overlap(desk.submission(client, "60"), desk.submission(client, "60"), step)
    assert statuses(answers) == [201, 402]
    assert desk.read(ledger.balance, f"available:{account_id}") == 40 * 10**8
    desk.check()


def test_a_debit_does_not_take_money_that_a_job_holds(desk: Desk) -> None:
    account_id, client = desk.account("100")
    debit = lambda: desk.admin.post(f"/v1/admin/accounts/{account_id}/debits", json={"amount": "60"})  # noqa: E731
    answers = desk.overlap(desk.submission(client, "60"), debit, (job_store, "add"))
    assert statuses(answers) == [201, 402]
    desk.check()


def test_a_repeated_submission_gets_the_first_answer(desk: Desk) -> None:
    _, client = desk.account("100")
    call = desk.submission(client, **{"Idempotency-Key": "k"})
    answers = desk.overlap(call, call, (job_store, "add"))
    assert statuses(answers) == [201, 201]
    assert answers[0].json()["job_id"] == answers[1].json()["job_id"]
    assert desk.rows("SELECT count(*) FROM jobs") == [(1,)]
    desk.check()


def test_two_submissions_do_not_exceed_the_limit_of_jobs(tmp_path: Path) -> None:
    with open_desk(tmp_path / "data", max_jobs_per_account=1) as desk:
        call = desk.submission(desk.client)
        assert statuses(desk.overlap(call, call, (job_store, "add"))) == [201, 429]
        desk.check()


def test_two_keys_do_not_exceed_the_limit_of_keys(tmp_path: Path) -> None:
    with open_desk(tmp_path / "data", max_keys_per_account=2) as desk:
        call = lambda: desk.client.post("/v1/keys", json={"name": "second"})  # noqa: E731
        assert statuses(desk.overlap(call, call, (access, "store_key"))) == [201, 409]


def test_a_job_is_cancelled_or_completed_but_not_both(desk: Desk) -> None:
    miner = desk.miner()
    lease = desk.leased(miner)
    cancel = lambda: desk.client.delete(f"/v1/jobs/{lease['job_id']}")  # noqa: E731
    cancelled, completed = desk.overlap(cancel, lambda: miner.complete(lease, RESULTS), (lifecycle, "save"))
    assert (cancelled.status_code, completed.status_code) == (200, 409)
    assert desk.state(lease["job_id"]) == "cancelled"
    desk.check()


def test_a_result_that_is_delivered_twice_at_once_is_accepted_once(desk: Desk) -> None:
    miner = desk.miner()
    lease = desk.leased(miner)
    body = miner.result_body(lease, RESULTS)
    deliver = lambda: miner.http.post(f"/jobs/{lease['job_id']}/result", json=body)  # noqa: E731
    answers = desk.overlap(deliver, deliver, (lifecycle, "save"))
    assert statuses(answers) == [200, 200]
    assert answers[0].json() == answers[1].json()
    desk.check()


def test_a_lease_that_is_renewed_while_it_expires_is_what_its_miner_knows(desk: Desk) -> None:
    miner = desk.miner()
    lease = desk.leased(miner)
    held = {"job_id": lease["job_id"], "fence": lease["fence"], "progress": 1.0}
    heartbeat = lambda: miner.http.post("/heartbeat", json={"leases": [held]}).json()["leases"][0]  # noqa: E731
    expire = desk.write(leases._expire_due, time.time() + 10_000, 0.0)
    _, answer = desk.overlap(expire, heartbeat, (lifecycle, "save"))
    assert (answer["status"] == "renewed") is (desk.state(lease["job_id"]) == "running")
    desk.check()


def claiming(desk: Desk, miner: ScriptedMiner, slots: int = 1) -> Callable[[], Any]:
    """Return a round of matching for one miner, as a leader runs it."""
    session = miner.registration["session"]
    candidate = candidate_of(miner.miner_id, session, slots, capabilities())
    return desk.write(claims.claim, [candidate], time.time(), desk.served.context.settings)


def test_a_heartbeat_locks_all_jobs_of_its_miner_in_one_order(desk: Desk) -> None:
    """It names the newer one only. Until it has the older one, another transaction can lock the newer one."""
    miner = desk.miner()
    older, newer = desk.leased(miner), desk.leased(miner)
    named = {"job_id": newer["job_id"], "fence": newer["fence"], "progress": 1}
    lock = b"SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE NOWAIT"
    with psycopg.connect(desk.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(lock, [older["job_id"]])
        beat = pool.submit(miner.http.post, "/heartbeat", json={"leases": [named]})
        _until_waiting(desk, 1)
        other.execute(lock, [newer["job_id"]])
        other.rollback()
        assert beat.result(60).status_code == 200
    desk.check()


def test_two_leaders_do_not_claim_the_same_job(desk: Desk) -> None:
    miners = [desk.miner(), desk.miner()]
    submit(desk.client)
    rounds = [claiming(desk, miner) for miner in miners]
    (first, _), (second, left) = desk.overlap(*rounds, (lifecycle, "claim"))
    assert (len(first), len(second), left) == (1, 0, True)
    desk.check()


def test_a_job_that_is_cancelled_while_it_is_claimed_stays_cancelled(desk: Desk) -> None:
    miner = desk.miner()
    job_id = submit(desk.client)
    _, answer = desk.overlap(
        claiming(desk, miner), lambda: desk.client.delete(f"/v1/jobs/{job_id}"), (lifecycle, "claim")
    )
    assert answer.status_code == 200
    assert desk.state(job_id) == "cancelled"
    desk.check()


def test_a_claim_and_a_release_of_one_account_do_not_wait_for_each_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both change the numbers of waiting and of running jobs. Another transaction holds these, so that both begin at once."""
    account_id, _ = desk.account("1")
    waiting, running = ((account_id, "whisper_transcription", state) for state in ("submitted", "running"))
    desk.write(counts.move, [(None, waiting), (None, running)])()
    errors: list[BaseException] = []
    monkeypatch.setattr(engine, "classify", lambda error: errors.append(error) or classify(error))
    with psycopg.connect(desk.url) as other:
        other.execute("LOCK TABLE recent_job_counts IN EXCLUSIVE MODE")

        def release() -> None:
            desk.write(counts.move, [(running, waiting)])()

        def claim() -> None:
            desk.write(counts.move, [(waiting, running)])()

        _blocked_together(desk, other, release, claim)
    assert errors == []


def _blocked_together(desk: Desk, other: psycopg.Connection, *calls: Callable[[], None]) -> None:
    """Start calls that wait for the transaction `other`, end that, and wait for them."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = []
        for number, call in enumerate(calls, 1):
            running.append(pool.submit(call))
            _until_waiting(desk, number)
        other.rollback()
        for future in running:
            future.result(60)


def _until_waiting(desk: Desk, transactions: int) -> None:
    """Wait until that many transactions wait for a lock."""
    deadline = time.monotonic() + 60
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while desk.rows(waiting)[0][0] < transactions:
        assert time.monotonic() < deadline


def test_two_results_of_one_miner_both_count_for_it(desk: Desk) -> None:
    """Also one that arrives while the statistics are updated. While two do that, one of them does."""
    miner = desk.miner()
    one, two = desk.leased(miner), desk.leased(miner)
    fold = desk.write(miner_stats.fold)
    assert miner.complete(one, RESULTS).status_code == 200
    answer, _ = desk.overlap(lambda: miner.complete(two, RESULTS), fold, (miner_stats, "add"), after=True)
    assert answer.status_code == 200
    stats = desk.read(miner_stats.find, miner.miner_id)
    assert stats.completed == 2
    assert stats.evidence.good > 1.9  # a result counts for a little less the more a client has counted
    desk.overlap(fold, fold, (locks, "if_free"), after=True)
    assert desk.read(miner_stats.find, miner.miner_id) == stats
    assert desk.rows("SELECT completed, good FROM miner_stats") == [(2, stats.evidence.good)]
    assert desk.rows("SELECT * FROM recent_work") == []
    desk.check()


def test_two_failures_that_a_client_caused_both_count(desk: Desk) -> None:
    miner = desk.miner()
    one, two = desk.leased(miner), desk.leased(miner)

    def fail(lease: dict[str, Any]) -> httpx.Response:
        return miner.job(lease, "fail", kind="fail", code="BROKEN", message="It broke.")

    answers = desk.overlap(lambda: fail(one), lambda: fail(two), (throttling, "failures_of"), after=True)
    assert statuses(answers) == [200, 200]
    (count,) = desk.rows("SELECT count FROM client_failures")[0]
    assert count == pytest.approx(2, abs=0.01)
    desk.check()


def test_lines_that_arrive_at_once_stay_within_the_limit_of_a_log(tmp_path: Path) -> None:
    with open_desk(tmp_path / "data", max_job_log="1Ki") as desk:
        miner = desk.miner()
        lease = desk.leased(miner)
        entries = [{"time": time.time(), "source": "stdout", "text": "x" * 600}]
        body = {"events": [], "log": {"entries": entries, "truncated": False}}
        send = lambda: miner.job(lease, "events", **body)  # noqa: E731
        answers = desk.overlap(send, send, (job_logs, "size_of"), after=True)
        assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
        assert desk.rows("SELECT sum(size) <= 1024, count(*) FROM job_logs") == [(True, 1)]


def test_two_registrations_of_one_miner_open_two_sessions(desk: Desk) -> None:
    miner = desk.miner()
    again = ScriptedMiner(desk.served.url, miner.key)
    answers = desk.overlap(miner.register, again.register, (hooks, "miner_reported"))
    assert sorted(answer.json()["session"] for answer in answers) == [2, 3]


def test_two_sequencers_extend_one_log(desk: Desk) -> None:
    miner = desk.miner()
    assert miner.complete(desk.leased(miner), RESULTS).is_success
    extend = desk.write(integrate, desk.served.context.signer, time.time())
    answers = desk.overlap(extend, extend, (log_store, "number"))
    assert sorted(record is not None for record, _ in answers) == [False, True]
    desk.check()


def test_a_file_that_is_deleted_while_a_job_is_submitted_with_it(desk: Desk) -> None:
    artifact_id = desk.client.post("/v1/artifacts", content=b"RIFF....").json()["artifact_id"]
    body = {"audio_url": f"artifact:{artifact_id}", "model": "base"}
    submission = lambda: desk.client.post("/v1/services/whisper/transcribe", json=body)  # noqa: E731
    delete = lambda: desk.client.delete(f"/v1/artifacts/{artifact_id}")  # noqa: E731
    submitted, deleted = desk.overlap(submission, delete, (artifact_store, "link"))
    assert (submitted.status_code, deleted.status_code) in {(201, 409), (422, 204), (422, 200)}
    desk.check()


def test_recent_changes_of_balances_are_folded_without_a_loss(desk: Desk) -> None:
    """Also those of a transaction that has not committed yet. While two fold, one of them does."""
    account_id, client = desk.account("100")
    desk.submission(client)()
    fold = desk.write(changed_balances.fold, everything=True)
    answer, _ = desk.overlap(desk.submission(client), fold, (ledger, "post"), after=True)
    assert answer.is_success
    desk.check()
    fold()
    assert desk.rows("SELECT max(part) FROM balances")[0][0] < LANES
    assert desk.read(ledger.balance, f"available:{account_id}") == 98 * 10**8
    desk.overlap(fold, fold, (locks, "if_free"), after=True)
    desk.submission(client)()
    desk.write(changed_balances.fold)()
    assert desk.rows("SELECT max(part) FROM balances")[0][0] > LANES  # changes of these seconds stay
    assert desk.read(ledger.balance, f"available:{account_id}") == 97 * 10**8
    desk.check()


def test_the_balance_is_never_negative_under_many_submissions(desk: Desk) -> None:
    """Without a forced order: eight clients of one account at once."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    account_id, client = desk.account("10")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: desk.submission(client, "1")(), range(24)))
    assert statuses(answers) == [201] * 10 + [402] * 14
    assert desk.read(ledger.balance, f"available:{account_id}") == 0
    assert Decimal(client.get("/v1/wallet").json()["held"]) == 10
    desk.check()
