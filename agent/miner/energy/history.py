"""The file of what jobs have consumed and earned: a SQLite database beside the outbox, with sums by day.

A lost entry costs nobody money, so commits do not wait for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Final

from agent.core.errors import ConfigurationError
from agent.miner.energy.profit import Consumption

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT NOT NULL, fence INTEGER NOT NULL, ended_at REAL NOT NULL, service TEXT NOT NULL, model TEXT, device TEXT NOT NULL,
    outcome TEXT NOT NULL, seconds REAL NOT NULL, joules REAL, cost REAL, credits TEXT NOT NULL, PRIMARY KEY (job_id, fence)
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (ended_at);
CREATE TABLE IF NOT EXISTS days (
    date TEXT NOT NULL, origin TEXT NOT NULL, jobs INTEGER NOT NULL DEFAULT 0, joules REAL NOT NULL DEFAULT 0, cost REAL NOT NULL DEFAULT 0,
    idle_joules REAL NOT NULL DEFAULT 0, idle_cost REAL NOT NULL DEFAULT 0, unpriced REAL NOT NULL DEFAULT 0,
    unmeasured INTEGER NOT NULL DEFAULT 0, credits REAL NOT NULL DEFAULT 0, earned REAL, PRIMARY KEY (date, origin)
) STRICT;
CREATE TABLE IF NOT EXISTS consumption (
    service TEXT NOT NULL, model TEXT NOT NULL, jobs INTEGER NOT NULL, units REAL NOT NULL, seconds REAL NOT NULL, joules REAL NOT NULL,
    measured_at REAL NOT NULL, PRIMARY KEY (service, model)
) STRICT;
CREATE TABLE IF NOT EXISTS price (id INTEGER PRIMARY KEY CHECK (id = 1), value REAL NOT NULL, url TEXT NOT NULL) STRICT;
"""
_VERSION: Final = 1
_ADD_TO_DAY: Final = """
INSERT INTO days (date, origin, jobs, joules, cost, idle_joules, idle_cost, unpriced, unmeasured, credits)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    jobs = jobs + excluded.jobs, joules = joules + excluded.joules, cost = cost + excluded.cost,
    idle_joules = idle_joules + excluded.idle_joules, idle_cost = idle_cost + excluded.idle_cost,
    unpriced = unpriced + excluded.unpriced, unmeasured = unmeasured + excluded.unmeasured, credits = credits + excluded.credits
"""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """An ended job. `cost` is of its electricity, in the owner's currency, `credits` after the operator's fee. None means unknown."""

    job_id: str
    fence: int
    ended_at: float
    service: str
    model: str | None
    device: str
    outcome: str
    seconds: float
    joules: float | None
    cost: float | None
    credits: str


@dataclass(frozen=True, slots=True)
class Period:
    """The sums of a UTC day ("2026-12-01") or month ("2026-12"): of jobs, and of electricity without jobs (`idle_`).

    Costs are in the owner's currency, `credits` after the operator's fee. The cost of `unpriced` joules is unknown, and `unmeasured` is the
    number of jobs whose energy is.
    """

    name: str
    jobs: int = 0
    joules: float = 0.0
    cost: float = 0.0
    idle_joules: float = 0.0
    idle_cost: float = 0.0
    unpriced: float = 0.0
    unmeasured: int = 0
    credits: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """The consumption of some seconds, to be added to a day of a coordinator's log `origin`."""

    date: str
    origin: str
    joules: float = 0.0
    cost: float = 0.0
    idle_joules: float = 0.0
    idle_cost: float = 0.0
    unpriced: float = 0.0
    jobs: Sequence[JobRecord] = ()
    consumption: Mapping[tuple[str, str], Consumption] = field(default_factory=dict)


def _day(spent: Spent) -> tuple[object, ...]:
    return (
        spent.date,
        spent.origin,
        len(spent.jobs),
        spent.joules,
        spent.cost,
        spent.idle_joules,
        spent.idle_cost,
        spent.unpriced,
        sum(job.joules is None for job in spent.jobs),
        sum(float(job.credits) for job in spent.jobs),
    )


class History:
    """All methods block, and must be called from one thread at a time. Those that write raise `OSError` if the disk refuses."""

    def __init__(self, path: Path, max_jobs: int) -> None:
        self._path = path
        self._max_jobs = max_jobs
        self._connection: sqlite3.Connection

    def open(self) -> None:
        """Open the file. Raises `ConfigurationError`."""
        try:
            # Before SQLite creates it with the umask's mode: what a machine earns is private.
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise ConfigurationError(f"{self._path} was written by a newer agent. Update this one.")
            self._connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"The history of earnings in {self._path} cannot be read ({error}). If the file is damaged, move it away; a new one begins."
            ) from error

    def begin_again(self) -> None:
        """Move a file that cannot be read away, and open a new one. Raises `ConfigurationError`."""
        for suffix in ("", "-wal", "-shm"):
            path = self._path.with_name(self._path.name + suffix)
            # An unreadable directory fails below, with better words.
            with suppress(OSError):
                path.replace(path.with_name(f"{path.name}.damaged"))
        self.open()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, spent: Spent) -> None:
        """Add consumption to a day, with the jobs that have ended and what their models have consumed."""
        self._write(
            (_ADD_TO_DAY, [_day(spent)]),
            (
                "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                list(map(astuple, spent.jobs)),
            ),
            (
                "DELETE FROM jobs WHERE ended_at <= (SELECT ended_at FROM jobs ORDER BY ended_at DESC LIMIT 1 OFFSET ?)",
                [(self._max_jobs,)] if spent.jobs else [],
            ),
            (
                "INSERT OR REPLACE INTO consumption VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*key, *astuple(value)) for key, value in spent.consumption.items()],
            ),
        )

    def set_earned(self, origin: str, amounts: Mapping[str, float]) -> None:
        """Store what the coordinator states about days, by date. It knows about refused results too."""
        self._write(
            (
                "INSERT INTO days (date, origin, earned) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET earned = excluded.earned",
                [(date, origin, amount) for date, amount in amounts.items()],
            )
        )

    def set_price(self, url: str, value: float) -> None:
        """Store the last price that an address has answered."""
        self._write(("INSERT OR REPLACE INTO price VALUES (1, ?, ?)", [(value, url)]))

    def price(self, url: str) -> float | None:
        """Return the last price that this address has answered."""
        row = self._connection.execute("SELECT value FROM price WHERE url = ?", (url,)).fetchone()
        return None if row is None else float(row[0])

    def consumption(self) -> dict[tuple[str, str], Consumption]:
        """Return what each model of each service has consumed; the model is "" for services without models."""
        rows = self._connection.execute(
            "SELECT service, model, jobs, units, seconds, joules, measured_at FROM consumption"
        )
        return {(service, model): Consumption(*values) for service, model, *values in rows}

    def days(self, count: int) -> list[Period]:
        """Return the latest days, the newest first."""
        return self._periods("date", count)

    def months(self, count: int) -> list[Period]:
        """Return the latest months, the newest first."""
        return self._periods("substr(date, 1, 7)", count)

    def _periods(self, name: str, count: int) -> list[Period]:
        rows = self._connection.execute(
            f"SELECT {name} AS name, sum(jobs), sum(joules), sum(cost), sum(idle_joules), sum(idle_cost), sum(unpriced),"  # noqa: S608 - see the callers
            " sum(unmeasured), sum(coalesce(earned, credits)) FROM days GROUP BY name ORDER BY name DESC LIMIT ?",
            (count,),
        )
        return [Period(*row) for row in rows]

    def jobs(self, count: int) -> list[JobRecord]:
        """Return the latest jobs, the newest first."""
        rows = self._connection.execute(
            "SELECT job_id, fence, ended_at, service, model, device, outcome, seconds, joules, cost, credits FROM jobs"
            " ORDER BY ended_at DESC, rowid DESC LIMIT ?",
            (count,),
        )
        return [JobRecord(*row) for row in rows]

    def outcomes(self, begin: float, end: float) -> dict[str, int]:
        """Return how many jobs ended in this span of time (seconds since the epoch), by their outcome."""
        query = "SELECT outcome, count(*) FROM jobs WHERE ended_at >= ? AND ended_at < ? GROUP BY outcome"
        return dict(self._connection.execute(query, (begin, end)).fetchall())

    def _write(self, *statements: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement, rows in statements:
                    self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise OSError(f"{self._path} cannot be written: {error}") from error
