"""Webhooks of coordinators that share a database on PostgreSQL."""

from __future__ import annotations

import time

import httpx
import psycopg
import pytest

from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.store import StoredDelivery
from agent.coordinator.store.database import Connection
from support.jobs import submit
from support.server import Served
from support.servers.interleaving import overlapping

pytestmark = pytest.mark.usefixtures("on_postgresql")


def test_two_senders_do_not_send_the_same_message(served: Served, client: httpx.Client) -> None:
    url = served.context.database.server.url
    account_id, job_id = client.get("/v1/wallet").json()["account_id"], submit(client)
    now = time.time() + 10_000  # the coordinator's own sender leaves it alone
    delivery = StoredDelivery(
        "wh_1", job_id, account_id, "https://example.com/", "lane", "job.completed", "{}", now
    )
    served.do(lambda context: context.database.write(store.enqueue, delivery, now))

    def claim(connection: Connection) -> int:
        claimed = store.claim(connection, ["wh_1"], now, now + 60)
        store.secret_of(connection, account_id, "whsec_1", now)
        return len(claimed)

    def send() -> int:
        return served.do(lambda context: context.database.write(claim))

    assert sorted(overlapping(url, send, send, (store, "secret_of"))) == [0, 1]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT attempts FROM webhook_deliveries").fetchall() == [(1,)]
