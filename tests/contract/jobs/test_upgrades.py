"""What an earlier version has stored, after an upgrade of the coordinator."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}
BEFORE = "0013"
"""The revision before outputs belonged to accounts."""


def with_file(stored: dict[str, Any]) -> dict[str, Any]:
    url = f"/v1/artifacts/{stored['artifact_id']}"
    return {**RESULTS, "files": [{**stored, "name": "a.txt", "url": url}]}


def as_client(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=30)


def as_before(database: Path, miner_id: str, outputs: list[str]) -> None:
    """Bring a database to the form in which outputs belonged to their miners."""
    connection = sqlite3.connect(database)
    for artifact_id in outputs:
        connection.execute("DELETE FROM artifact_owners WHERE artifact_id = ?", (artifact_id,))
        connection.execute("INSERT INTO artifact_owners VALUES (?, ?, 'text/plain')", (artifact_id, miner_id))
    connection.execute("UPDATE stored_bytes SET owner = ?", (miner_id,))
    for table in ("run_outputs", "browser_session_keys", "browser_sessions"):
        connection.execute(f"DROP TABLE {table}")  # names of this file
    connection.execute("ALTER TABLE miner_commands RENAME TO miner_orders")
    connection.execute("ALTER TABLE miner_orders RENAME COLUMN command_id TO order_id")
    connection.execute("DROP INDEX ix_miner_commands_miner")
    connection.execute(
        "UPDATE miners SET capabilities = replace(capabilities, '\"unavailable_models\"', '\"withheld\"')"
    )
    connection.execute("UPDATE alembic_version SET version_num = ?", (BEFORE,))
    connection.commit()
    connection.close()


def test_outputs_of_an_earlier_version_belong_to_their_client_and_no_finished_work_is_lost(
    tmp_path: Path,
) -> None:
    """One job had completed, of another one the miner had stored the output but not sent the result."""
    data = tmp_path / "data"
    with serve(data, open_enrolment=True) as served, as_client(served, served.client_key) as client:
        key = served.client_key
        miner = ScriptedMiner(served.url)
        miner.register()
        submit(client)
        second = submit(client)
        leases = {lease["job_id"]: lease for lease in miner.poll(slots=2)}
        waiting = leases.pop(second)
        (lease,) = leases.values()
        done = miner.upload(b"delivered", "text/plain", lease)
        assert miner.complete(lease, with_file(done)).status_code == 200
        unsent = miner.upload(b"stored", "text/plain", waiting)
    as_before(
        data / "coordinator/coordinator.db", miner.miner_id, [done["artifact_id"], unsent["artifact_id"]]
    )
    with (
        serve(data, open_enrolment=True, max_stored=len(b"delivered") + 3) as served,
        as_client(served, key) as client,
    ):
        miner = ScriptedMiner(served.url, miner.key)
        miner.register(holding=[{"job_id": second, "fence": waiting["fence"]}])
        assert code(client.post("/v1/artifacts", content=b"four")) == (413, "PAYLOAD_TOO_LARGE")
        assert miner.complete(waiting, with_file(unsent)).status_code == 200
        for stored, content in ((done, b"delivered"), (unsent, b"stored")):
            path = f"/v1/artifacts/{stored['artifact_id']}"
            assert client.get(path).content == content
            assert client.delete(path).status_code == 204
        assert client.post("/v1/artifacts", content=b"four").status_code == 201


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]
