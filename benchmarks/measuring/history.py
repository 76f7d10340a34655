"""Fills a coordinator's database with a history: jobs of many accounts in all states, with all dependent rows.

The rows are those that the coordinator would have written, in the real schema, but they are inserted in bulk: indexes are created at
the end, and nothing is synced in between. The receipts are not signed and not in the log.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agent.coordinator.installed  # noqa: F401 - declares the tables of features
from agent.core.market.ledger import ISSUED, available, earned, escrow
from agent.core.values.quantities import make_id
from measuring.miner import capabilities

DAYS = 6
"""Length of the history: shorter than the retention of events."""
ACCOUNTS = 200
MINERS = 100
OWN_SHARE = 0.3
"""Share of all jobs that belongs to the measured account."""
LABELLED = 0.1
"""Share of all jobs that have a label."""
OF_A_LABEL = 500
"""About ten times as many jobs as have one label."""
STATES = {"completed": 0.9, "failed": 0.06, "cancelled": 0.04}
RUNNING = 50
WAITING = 50
BATCH = 20_000
SERVICES = {
    "llm_inference": ("smollm2-135m-instruct", "token", 0.5),
    "whisper_transcription": ("tiny.en", "audio second", 0.2),
    "image_generation": ("untrained-diffusion", "megapixel-step", 0.15),
    "video_transcoding": (None, "output second-megapixel", 0.1),
    "ai_inference": (None, "second", 0.05),
}
HELD = 1_000_000
PAID = 250_000
ENVELOPE = {"payloadType": "past", "payload": "e" * 900, "signatures": [{"keyid": "", "sig": "s" * 88}]}
RESULTS = json.dumps({"text": "An answer as long as most answers are. " * 5, "units": 48})


@dataclass
class Rows:
    """Rows by table, each as a mapping of columns."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: str, **values: Any) -> None:
        """Add a row."""
        self.tables.setdefault(table, []).append(values)

    def write(self, database: sqlite3.Connection) -> None:
        """Insert all rows; the rows of a table have the same columns."""
        for table, rows in self.tables.items():
            names = list(rows[0])
            marks = ", ".join("?" * len(names))
            sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our own names
            database.executemany(sql, [tuple(row.values()) for row in rows])
        self.tables.clear()


class History:
    """Writes to the database at `path`. The stored counts of jobs and the ledger agree with the rows."""

    def __init__(self, path: Path, own: str, seed: int = 1) -> None:
        self._path = path
        self.own = own
        self._own_share = OWN_SHARE
        self._random = random.Random(seed)  # noqa: S311 - a reproducible history, no secret
        self._now = time.time()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._balances: Counter[str] = Counter()
        self._accounts: list[str] = []
        self._miners: list[str] = []

    def write_past(self, jobs: int) -> None:
        """Write `jobs` finished jobs, and a few running and queued ones. A part of them belongs to the account `own`."""
        with self._bulk() as rows:
            self._people(rows)
            for number in range(jobs):
                self._past_job(rows, self._now - DAYS * 86_400 * (1 - number / jobs))
                self._flush(rows, BATCH)
            for number in range(RUNNING):
                self._open_job(rows, self._now - RUNNING + number, "running")
            for number in range(WAITING):
                self._open_job(rows, self._now - WAITING + number, "submitted")

    def write_queue(self, jobs: int) -> None:
        """Write `jobs` queued jobs of all accounts except `own`, which has a job limit. Call it after `write_past`."""
        self._own_share = 0.0
        with self._bulk() as rows:
            for number in range(jobs):
                self._open_job(rows, self._now - 3600 * (1 - number / jobs), "submitted")
                self._flush(rows, BATCH)

    @contextmanager
    def _bulk(self) -> Iterator[Rows]:
        rows = Rows()
        database = self._database = sqlite3.connect(self._path, isolation_level=None)
        for pragma in ("foreign_keys=OFF", "synchronous=OFF", "cache_size=-500000", "temp_store=MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        found = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in found:
            database.execute(f"DROP INDEX {name}")
        database.execute("BEGIN")
        yield rows
        self._sums(rows)
        self._flush(rows, 0)
        for _, sql in found:
            database.execute(sql)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()

    def _flush(self, rows: Rows, above: int) -> None:
        if len(rows.tables.get("jobs", ())) >= above:
            rows.write(self._database)
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")

    def _people(self, rows: Rows) -> None:
        for number in range(ACCOUNTS):
            self._accounts.append(self._id("account", self._now - DAYS * 86_400))
            rows.add(
                "accounts",
                account_id=self._accounts[-1],
                name=f"client {number}",
                created_at=self._now - DAYS * 86_400,
            )
        for number in range(MINERS):
            self._miners.append("miner_" + f"{number:026d}".translate(str.maketrans("0189", "abcd")))
            rows.add(
                "miners", miner_id=self._miners[-1], public_key=number.to_bytes(32, "big"), name=f"rig {number}",
                session=1, session_sha256=f"{number:064x}", capabilities=json.dumps(capabilities(4)), telemetry="[]",
                paused=None, registered_at=self._now - DAYS * 86_400, seen_at=self._now - 3600,
            )  # fmt: skip
        for service, (model, _, _) in SERVICES.items():
            rows.add("durations", service=service, model=model or "", count=1000, seconds=12.0)

    def _id(self, prefix: str, moment: float) -> str:
        return make_id(prefix, moment, self._random.randbytes(10))

    def _someone(self) -> str:
        own = self._random.random() < self._own_share
        return self.own if own else self._random.choice(self._accounts)

    def _job(
        self, rows: Rows, moment: float, state: str, miner: str | None, **lease: Any
    ) -> tuple[str, str, str]:
        """Add the row of a job. Returns its id, account and service."""
        service = self._random.choices(list(SERVICES), [share for _, _, share in SERVICES.values()])[0]
        model = SERVICES[service][0]
        job_id, account = self._id("job", moment), self._someone()
        finished = state in STATES
        content = {
            "job_id": job_id, "service": service, "model": model, "parameters": {"prompt": "x" * 200}, "files": {}
        }  # fmt: skip
        spec = json.dumps(content, sort_keys=True, separators=(",", ":"))  # canonical for so simple a value
        rows.add(
            "jobs", job_id=job_id, account_id=account, service=service, type=service, name=f"talk-{self._random.randrange(10_000)}.mp3", name_given=0, model=model,
            spec=spec, spec_digest=hashlib.sha256(spec.encode()).hexdigest(), cpu_millis=0, memory=0, gpus=0, priority=self._random.choice((0, 0, 0, 5)),
            max_cost=HELD, fee_ppm=0, requested_miner_id=None, agreed_price=None, missing_files=None,
            created_at=moment, state=state, timeout_seconds=3600.0, max_attempts=3, attempts=int(state != "submitted"),
            fence=int(state != "submitted"), miner_id=miner, lease_session=lease.get("session"),
            lease_assigned_at=lease.get("assigned_at"), lease_expires_at=lease.get("expires_at"),
            lease_deadline=lease.get("deadline"), lease_miner_id=miner if lease else None, unit_price=1000 if miner else None,
            started_at=moment + 1 if miner else None, finished_at=moment + 12 if finished else None,
            progress=100.0 if state == "completed" else 0.0, units="48" if state == "completed" else "0",
            failure_code="INPUT_INVALID" if state == "failed" else None,
            failure_message="The input cannot be read." if state == "failed" else None, avoid_miner_id=None, avoid_until=None,
        )  # fmt: skip
        if self._random.random() < LABELLED:
            value = str(len(rows.tables["jobs"]) // OF_A_LABEL)
            rows.add("job_labels", job_id=job_id, key="batch", value=value, account_id=account)
        self._counts[account, service, state] += 1
        return job_id, account, service

    def _open_job(self, rows: Rows, moment: float, state: str) -> None:
        lease, miner = {}, None
        if state == "running":
            miner = self._random.choice(self._miners)
            lease = {
                "session": 1, "assigned_at": moment, "expires_at": self._now + 86_400, "deadline": self._now + 86_400
            }  # fmt: skip
        job_id, account, _ = self._job(rows, moment, state, miner, **lease)
        self._pay(rows, job_id, account, moment, None, 0, settled=False)
        self._publish(rows, job_id, account, None, moment, ["submitted"])

    def _past_job(self, rows: Rows, moment: float) -> None:
        state = self._random.choices(list(STATES), list(STATES.values()))[0]
        miner = self._random.choice(self._miners)
        job_id, account, _ = self._job(rows, moment, state, miner)
        suffix = job_id.removeprefix("job_")
        done = state == "completed"
        rows.add(
            "runs", job_id=job_id, fence=1, miner_id=miner, assigned_at=moment + 1, ended_at=moment + 12, outcome=state,
            failure_code=None, failure_message=None,
        )  # fmt: skip
        if done:
            rows.add("results", job_id=job_id, results=RESULTS)
            rows.add(
                "receipts", receipt_id=f"receipt_{suffix}", job_id=job_id, miner_id=miner, statement_sha256="0" * 64,
                receipt=_receipt(suffix, miner), created_at=moment + 12,
            )  # fmt: skip
        self._pay(rows, job_id, account, moment, miner if done else None, PAID if done else 0, settled=True)
        self._publish(rows, job_id, account, miner, moment, ["submitted", "running", state])

    def _pay(
        self,
        rows: Rows,
        job_id: str,
        account: str,
        moment: float,
        miner: str | None,
        paid: int,
        *,
        settled: bool,
    ) -> None:
        tx_id = "tx_" + job_id.removeprefix("job_")
        status = "pending" if not settled else "settled" if paid else "refunded"
        rows.add(
            "transactions", tx_id=tx_id, kind="payment", status=status, account_id=account, miner_id=miner, job_id=job_id,
            held=HELD, paid=paid, fee=0, note="", created_at=moment, settled_at=moment + 12 if settled else None,
        )  # fmt: skip
        self._post(rows, tx_id, "hold", {available(account): -HELD, escrow(account): HELD})
        if settled:
            entry = {escrow(account): -HELD, available(account): HELD - paid}
            self._post(rows, tx_id, "settlement", entry | ({earned(miner): paid} if miner else {}))

    def _post(self, rows: Rows, tx_id: str, entry: str, amounts: dict[str, int]) -> None:
        for account, amount in amounts.items():
            rows.add("postings", tx_id=tx_id, entry=entry, ledger_account=account, amount=amount)
            self._balances[account] += amount

    def _publish(
        self, rows: Rows, job_id: str, account: str, miner: str | None, moment: float, states: Iterable[str]
    ) -> None:
        for state in states:
            rows.add(
                "events", type="job_update", account_id=account, miner_id=miner, job_id=job_id,
                data=f'{{"job_id":"{job_id}","status":"{state}"}}', created_at=moment,
            )  # fmt: skip

    def _sums(self, rows: Rows) -> None:
        """Add credits that pay for all jobs, balances, and the counts of jobs."""
        for account in (self.own, *self._accounts):
            amount = 10**16
            tx_id = self._id("tx", self._now - DAYS * 86_400)
            rows.add(
                "transactions", tx_id=tx_id, kind="credit", status="settled", account_id=account, miner_id=None, job_id=None,
                held=0, paid=amount, fee=0, note="", created_at=self._now, settled_at=self._now,
            )  # fmt: skip
            self._post(rows, tx_id, "credit", {ISSUED: -amount, available(account): amount})
        self._merge(
            "balances", ("ledger_account",), {(name,): amount for name, amount in self._balances.items()}
        )
        self._merge("job_counts", ("account_id", "service", "state"), dict(self._counts))
        self._balances.clear()
        self._counts.clear()

    def _merge(self, table: str, keys: tuple[str, ...], sums: dict[tuple[str, ...], int]) -> None:
        """Add to the counts in the table."""
        value = "amount" if table == "balances" else "count"
        sql = (
            f"INSERT INTO {table} ({', '.join(keys)}, {value}) VALUES ({', '.join('?' * (len(keys) + 1))}) "  # noqa: S608 - our own names
            f"ON CONFLICT DO UPDATE SET {value} = {value} + excluded.{value}"
        )
        self._database.executemany(sql, [(*key, number) for key, number in sums.items()])


def _receipt(suffix: str, miner: str) -> str:
    """Return an unsigned receipt of realistic length."""
    attestation = {
        "timestamp": "2026-01-01T00:00:00Z", "statement_sha256": "0" * 64, "job_id": f"job_{suffix}", "miner_id": miner,
        "fence": "1", "signature": "s" * 88,
    }  # fmt: skip
    receipt = {
        "receipt_id": f"receipt_{suffix}", "job_id": f"job_{suffix}", "miner_id": miner,
        "signature": {"sig": "s" * 88, "public_key": "k" * 44},
        "attestations": [{"type": "assignment", **attestation}, {"type": "completion", **attestation}],
        "created_at": "2026-01-01T00:00:00Z", "envelope": ENVELOPE,
    }  # fmt: skip
    return json.dumps(receipt)
