"""Webhooks: where clients want messages about their jobs, the messages, and the secrets that sign them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from agent.coordinator.features.webhooks.rules import DeliveryState
from agent.coordinator.features.webhooks.tables import (
    gone_webhooks,
    job_webhooks,
    webhook_deliveries,
    webhook_secrets,
)
from agent.coordinator.store import records
from agent.coordinator.store.database import Content, contains
from agent.coordinator.store.prepared import Prepared

PRUNED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A message and the state of its delivery. `lane` is the account and the receiving host."""

    webhook_id: str
    job_id: str
    account_id: str
    url: str
    lane: str
    type: str
    body: str
    created_at: float
    state: str = DeliveryState.PENDING.value
    attempts: int = 0
    next_attempt_at: float | None = None
    last_attempt_at: float | None = None
    last_status: int | None = None
    last_error: str | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that signs an account's messages, and the `previous` one, which is also used until `previous_until`."""

    secret: str
    created_at: float
    previous: str | None = None
    previous_until: float | None = None

    def valid(self, now: float) -> list[str]:
        """Return the secrets to sign with, the newest first."""
        former = self.previous if self.previous_until is not None and self.previous_until > now else None
        return [self.secret] if former is None else [self.secret, former]


_COLUMNS: Final = records.columns(webhook_deliveries, StoredDelivery)
_PENDING: Final = webhook_deliveries.c.state == DeliveryState.PENDING.value


_add_url = Prepared(insert(job_webhooks))
_url_of = Prepared(
    select(job_webhooks.c.job_id, job_webhooks.c.url).where(job_webhooks.c.job_id == bindparam("key"))
)


def add_urls(connection: Connection, urls: Mapping[str, str]) -> None:
    """Store where clients want messages about new jobs, by job."""
    _add_url.run_many(connection, [{"job_id": job_id, "url": url} for job_id, url in urls.items()])


def urls_of(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Return where clients want messages about these jobs, by job, without jobs about which none are wanted."""
    return dict(_url_of.rows_of(connection, "key", job_ids))


def enqueue(connection: Connection, delivery: StoredDelivery, job_created_at: float) -> None:
    """Store a message that is due immediately. It is not sent if its receiver answered 410 after the job was submitted."""
    query = select(gone_webhooks.c.gone_at).where(
        gone_webhooks.c.account_id == delivery.account_id,
        gone_webhooks.c.url_sha256 == _sha256(delivery.url),
    )
    gone_at = connection.execute(query).scalar_one_or_none()
    values = records.values(delivery) | {"next_attempt_at": delivery.created_at}
    # The receiver has said 410 since the job was submitted. A newer job names the address again, so it is tried again.
    if gone_at is not None and gone_at >= job_created_at:
        values |= {
            "state": DeliveryState.GONE.value,
            "next_attempt_at": None,
            "finished_at": delivery.created_at,
        }
    connection.execute(insert(webhook_deliveries), values)
    contains(connection, Content.MESSAGES)


def _sha256(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def due(
    connection: Connection,
    now: float,
    *,
    busy_accounts: Collection[str],
    busy_lanes: Collection[str],
    limit: int,
) -> list[StoredDelivery]:
    """Return due messages, the longest due first, except those of busy accounts and lanes."""
    columns = webhook_deliveries.c
    query = (
        select(*_COLUMNS)
        .where(
            _PENDING,
            columns.next_attempt_at <= now,
            columns.account_id.not_in(busy_accounts),
            columns.lane.not_in(busy_lanes),
        )
        .order_by(columns.next_attempt_at)
        .limit(limit)
    )
    return records.find_all(connection, StoredDelivery, query)


def claim(
    connection: Connection, webhook_ids: Sequence[str], now: float, until: float
) -> list[StoredDelivery]:
    """Count an attempt for these messages and return them. They are due again at `until`, in case the process dies.

    Messages that are no longer due, or that another process claims, are left out.
    """
    columns = webhook_deliveries.c
    mine = (columns.webhook_id.in_(webhook_ids), _PENDING, columns.next_attempt_at <= now)
    # Rows that another replica claims just now are skipped instead of waited for.
    free = select(columns.webhook_id).where(*mine).with_for_update(skip_locked=True)
    ids = list(connection.execute(free).scalars())
    change = (
        update(webhook_deliveries)
        .where(columns.webhook_id.in_(ids))
        # Counted before it is made: an attempt during which the process dies must not be repeated forever.
        .values(attempts=columns.attempts + 1, last_attempt_at=now, next_attempt_at=until)
    )
    connection.execute(change)
    query = select(*_COLUMNS).where(columns.webhook_id.in_(ids))
    return records.find_all(connection, StoredDelivery, query)


_finish = (
    update(webhook_deliveries)
    # A late answer must not change what has ended, for example because the address was deleted.
    .where(webhook_deliveries.c.webhook_id == bindparam("key"), _PENDING)
    .values(
        state=bindparam("new_state"),
        next_attempt_at=bindparam("next"),
        last_status=bindparam("status"),
        last_error=bindparam("error"),
        finished_at=bindparam("finished"),
    )
)


def record(
    connection: Connection,
    delivery: StoredDelivery,
    state: DeliveryState,
    now: float,
    *,
    next_attempt_at: float | None,
    status: int | None,
    error: str | None,
) -> None:
    """Store the outcome of an attempt. After 410, no more messages are sent to that URL."""
    finished = None if state is DeliveryState.PENDING else now
    values = {
        "key": delivery.webhook_id, "new_state": state.value, "next": next_attempt_at, "status": status, "error": error,
        "finished": finished,
    }  # fmt: skip
    connection.execute(_finish, values)
    if state is DeliveryState.GONE:
        _forget_address(connection, delivery, now)


def _forget_address(connection: Connection, delivery: StoredDelivery, now: float) -> None:
    columns, key = gone_webhooks.c, (delivery.account_id, _sha256(delivery.url))
    connection.execute(
        delete(gone_webhooks).where(columns.account_id == key[0], columns.url_sha256 == key[1])
    )
    connection.execute(insert(gone_webhooks), {"account_id": key[0], "url_sha256": key[1], "gone_at": now})
    waiting = webhook_deliveries.c
    connection.execute(
        update(webhook_deliveries)
        .where(waiting.lane == delivery.lane, waiting.url == delivery.url, _PENDING)
        .values(state=DeliveryState.GONE.value, next_attempt_at=None, finished_at=now)
    )


def of_job(connection: Connection, job_id: str) -> list[StoredDelivery]:
    """Return the messages about a job, oldest first."""
    columns = webhook_deliveries.c
    query = select(*_COLUMNS).where(columns.job_id == job_id).order_by(columns.created_at)
    return records.find_all(connection, StoredDelivery, query)


def secret_of(
    connection: Connection, account_id: str, new_secret: str, now: float, *, lock: bool = False
) -> Secret:
    """Return the account's secret, storing `new_secret` if it has none yet. With `lock`, no other transaction changes it meanwhile."""
    columns = webhook_secrets.c
    query = select(columns.secret, columns.created_at, columns.previous, columns.previous_until)
    query = query.with_for_update() if lock else query
    row = connection.execute(query.where(columns.account_id == account_id)).one_or_none()
    if row is not None:
        return Secret(*row)
    values = {"account_id": account_id, "secret": new_secret, "created_at": now}
    connection.execute(insert(webhook_secrets), values)
    return Secret(new_secret, now)


def rotate_secret(
    connection: Connection, account_id: str, new_secret: str, now: float, previous_until: float
) -> Secret:
    """Replace the account's secret. The previous one is also used until `previous_until`."""
    former = secret_of(connection, account_id, new_secret, now, lock=True)
    if former.secret == new_secret:  # there was none to replace
        return former
    replacement = Secret(new_secret, now, former.secret, previous_until)
    change = update(webhook_secrets).where(webhook_secrets.c.account_id == account_id)
    connection.execute(change.values(**asdict(replacement)))
    return replacement


def prune(connection: Connection, finished_before: float) -> int:
    """Delete messages that finished long ago, at most `PRUNED_AT_ONCE`. Return how many."""
    columns = webhook_deliveries.c
    expired = (
        select(columns.webhook_id)
        .where(columns.finished_at < finished_before)
        .order_by(columns.finished_at)
        .limit(PRUNED_AT_ONCE)
    )
    connection.execute(delete(gone_webhooks).where(gone_webhooks.c.gone_at < finished_before))
    ids = list(connection.execute(expired.with_for_update(skip_locked=True)).scalars())
    connection.execute(delete(webhook_deliveries).where(columns.webhook_id.in_(ids)))
    return len(ids)


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the messages about jobs, and where they go."""
    for table in (webhook_deliveries, job_webhooks):
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))


def due_count(connection: Connection, now: float) -> int:
    """Return the number of messages that are due."""
    query = select(func.count()).where(_PENDING, webhook_deliveries.c.next_attempt_at <= now)
    return int(connection.execute(query).scalar_one())
