"""Data of an earlier version, after an upgrade of the coordinator."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_time
from agent.miner.identity import load_identity
from aitbc import AITBCClient, LogAddress, Policy, verify_bundle, verify_log
from aitbc.log import open_checkpoint
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

pytestmark = pytest.mark.sqlite

RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}
VECTORS = Path(__file__).parents[2] / "vectors"


def as_client(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)


def lease_with_output(data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Have the miner of a 0.1.0 run the oldest queued job: it has stored the output but not sent the result. Return the lease and the output."""
    output: dict[str, Any] = {
        "artifact_id": f"sha256:{hashlib.sha256(b'stored').hexdigest()}",
        "size": len(b"stored"),
    }
    path = ArtifactDirectory(data / "coordinator/artifacts", max_size=0).path(output["artifact_id"])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"stored")
    with closing(sqlite3.connect(data / "coordinator/coordinator.db")) as connection, connection:
        ((miner_id, session),) = connection.execute("SELECT miner_id, session FROM miners")
        ((job_id, service, spec, digest),) = connection.execute(
            "SELECT job_id, service, spec, spec_digest FROM jobs WHERE state = 'submitted' ORDER BY job_id LIMIT 1"
        )
        now = time.time()
        connection.execute(
            "UPDATE jobs SET state = 'running', attempts = 1, fence = 1, miner_id = ?1, lease_miner_id = ?1, lease_session = ?2, unit_price = 0, "
            "lease_assigned_at = ?3, started_at = ?3, lease_expires_at = ?4, lease_deadline = ?4 WHERE job_id = ?5",
            (miner_id, session, now, now + 3600, job_id),
        )
        connection.execute("INSERT INTO artifacts VALUES (:artifact_id, :size, 0)", output)
        connection.execute(
            "INSERT INTO artifact_owners VALUES (?, ?, 'text/plain')", (output["artifact_id"], miner_id)
        )
        connection.execute(
            "UPDATE stored_bytes SET size = size + ? WHERE owner = ?", (output["size"], miner_id)
        )
    lease = {
        "job_id": job_id,
        "fence": 1,
        "service": service,
        "spec": json.loads(spec),
        "spec_digest": digest,
        "unit_price": "0",
        "max_cost": "2",
    }
    return {**lease, "assigned_at": format_time(now)}, {**output, "media_type": "text/plain"}


def test_outputs_of_version_0_1_0_belong_to_their_client_and_no_result_is_lost(data_0_1_0: Path) -> None:
    """They belonged to their miner, and counted as its own."""
    lease, output = lease_with_output(data_0_1_0)
    with closing(sqlite3.connect(data_0_1_0 / "coordinator/coordinator.db")) as connection:
        ((stored,),) = connection.execute(
            "SELECT SUM(size) FROM stored_bytes WHERE owner LIKE 'miner%' OR owner = (SELECT account_id FROM accounts WHERE name = 'local')"
        )
        outputs = connection.execute(
            "SELECT a.artifact_id FROM job_artifacts j JOIN artifacts a ON a.artifact_id = j.artifact_id WHERE direction = 'output'"
        ).fetchall()
    key = json.loads((data_0_1_0 / "coordinator/keys.json").read_text())["client_key"]
    with (
        serve(data_0_1_0, open_enrolment=True, max_stored=stored + 3) as served,
        as_client(served, key) as client,
    ):
        miner = ScriptedMiner(served.url, load_identity(data_0_1_0 / "miner").signing_key)
        miner.register(holding=[{"job_id": lease["job_id"], "fence": lease["fence"]}])
        assert code(client.post("/v1/artifacts", content=b"four")) == (413, "PAYLOAD_TOO_LARGE")
        file = {**output, "name": "a.txt", "url": f"/v1/artifacts/{output['artifact_id']}"}
        assert miner.complete(lease, {**RESULTS, "files": [file]}).status_code == 200
        assert client.get(file["url"]).content == b"stored"
        assert len(outputs) == 2
        for (artifact_id,) in [*outputs, (output["artifact_id"],)]:
            path = f"/v1/artifacts/{artifact_id}"
            assert client.get(path).status_code == 200
            assert client.delete(path).status_code == 204
        assert client.post("/v1/artifacts", content=b"four").status_code == 201


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


PERMANENT = (
    "accounts", "api_keys", "artifacts", "job_artifacts", "jobs", "log_leaves", "log_tiles", "miners", "postings",
    "receipts", "results", "runs", "transactions",
)  # fmt: skip
"""Tables whose rows neither an upgrade nor a retention limit may remove."""
REWRITTEN = frozenset({"capabilities", "webhook_url", "offer_id"})
"""Columns that hold JSON whose fields an upgrade renames, or that an upgrade moves into the table of a feature."""


@pytest.fixture
def data_0_1_0(tmp_path: Path) -> Path:
    """A data directory of version 0.1.0: two accounts, a miner, three receipts, and jobs in every final state and in the queue."""
    with tarfile.open(VECTORS / "data_0_1_0.tar.xz") as archive:
        archive.extractall(tmp_path / "data")  # noqa: S202 - of this repository
    return tmp_path / "data"


def rows(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the permanent tables, ordered by their first column."""
    with closing(sqlite3.connect(data / "coordinator/coordinator.db")) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608 - names of this file
            for table in PERMANENT
        }


def test_an_upgrade_from_version_0_1_0_retains_every_row(data_0_1_0: Path) -> None:
    """No value is lost: an upgrade adds columns and rows, and renames fields of the capabilities that miners registered."""
    before = rows(data_0_1_0)
    with serve(data_0_1_0):
        pass
    after = rows(data_0_1_0)
    for table, old in before.items():
        assert old, table
        columns = old[0].keys() - REWRITTEN
        assert columns <= after[table][0].keys(), table
        stored = [{name: row[name] for name in columns} for row in after[table]]
        assert [row for row in old if {name: row[name] for name in columns} not in stored] == [], table


def test_the_log_of_version_0_1_0_continues_with_receipts_that_verify(data_0_1_0: Path) -> None:
    """Its miner receives a waiting command and completes a queued job; old and new receipts verify, and the log does not fork."""
    vectors = json.loads((VECTORS / "receipts_0_1_0.json").read_text())
    policy = Policy.of_log(vectors["log_key"])
    seen = open_checkpoint((data_0_1_0 / "coordinator/log.checkpoint").read_text(), vectors["log_key"])
    key = json.loads((data_0_1_0 / "coordinator/keys.json").read_text())["client_key"]
    identity = load_identity(data_0_1_0 / "miner")
    with (
        serve(data_0_1_0, open_enrolment=True, log_checkpoint_seconds=0.1) as served,
        AITBCClient(key, served.url) as client,
    ):
        for bundle in vectors["bundles"].values():
            job_id = bundle["receipt"]["job_id"]
            assert client.receipts.get(job_id).to_dict() == bundle["receipt"]
            assert verify_bundle(client.receipts.export(job_id), vectors["log_key"]).valid
            for file in client.jobs.get_results(job_id).output_files():
                assert client.artifacts.get(file.artifact_id)
        (waiting,) = client.jobs.list(status="submitted").jobs
        assert (client.wallet.get().balance, client.wallet.get().held) == ("997.99999537", "2")
        miner = ScriptedMiner(served.url, identity.signing_key)
        assert miner.register().status_code == 200
        commands = miner.http.post("/heartbeat", json={"leases": []}).json()["commands"]
        assert [command["command"] for command in commands] == ["resume"]
        leases = {lease["job_id"]: lease for lease in miner.poll(slots=2)}
        assert miner.complete(leases[waiting.job_id], RESULTS).status_code == 200
        assert client.jobs.get(waiting.job_id).status == "completed"
        assert verify_bundle(client.receipts.export(waiting.job_id), vectors["log_key"]).valid
        with LogAddress(f"{served.url}/v1/log", trust_env=False) as log:
            report = verify_log(log, policy, known={"0.1.0": seen})
        assert report.failures == ()
        assert report.receipts == len(vectors["bundles"]) + 1


def test_an_upgrade_of_a_damaged_database_changes_nothing(data_0_1_0: Path) -> None:
    """A row to which another row refers is missing."""
    path = data_0_1_0 / "coordinator/coordinator.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM transactions WHERE rowid = 1")
        connection.commit()
    with pytest.raises(ConfigurationError, match="first in postings"), serve(data_0_1_0):
        pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0011",)]


RECORDED = json.loads((VECTORS / "data_0_2_0.json").read_text())
"""Keys, and what version 0.2.0 answered about its data."""


@pytest.fixture
def data_0_2_0(tmp_path: Path) -> Path:
    """A data directory of version 0.2.0: jobs done, failed, cancelled and queued, an offer, labels, a webhook, a payout, audits, a log."""
    directory = tmp_path / "data/coordinator"
    directory.mkdir(parents=True)
    for name, content in RECORDED["files"].items():
        (directory / name).write_bytes(base64.b64decode(content))
        (directory / name).chmod(0o600)
    with closing(sqlite3.connect(directory / "coordinator.db")) as connection:
        connection.executescript((VECTORS / "data_0_2_0.sql").read_text(encoding="utf-8"))
    return tmp_path / "data"


def includes(answer: Any, recorded: Any) -> bool:
    """Return whether an answer still has what was recorded; it may have more fields."""
    if isinstance(recorded, dict):
        return all(name in answer and includes(answer[name], value) for name, value in recorded.items())
    if isinstance(recorded, list):
        return len(answer) == len(recorded) and all(map(includes, answer, recorded))
    return bool(answer == recorded)


@pytest.mark.needs("audits")
@pytest.mark.needs("offers")
@pytest.mark.needs("payouts")
@pytest.mark.needs("webhooks")
def test_version_0_2_0_is_read_as_before_and_continues(data_0_2_0: Path) -> None:
    """Its jobs, their labels, logs and webhooks, its offer, payout and verdicts. A queued job is completed, and the log does not fork."""
    jobs, log_key = RECORDED["jobs"], RECORDED["log_key"]
    settings = {"open_enrolment": True, "log_checkpoint_seconds": 0.1, "job_log_retention_seconds": 1e9}
    with (
        serve(data_0_2_0, payouts={"file": {"address": "text"}}, **settings) as served,
        AITBCClient(RECORDED["client_key"], served.url) as client,
    ):
        for key, answers in (("client_key", "answers"), ("admin_key", "payouts")):
            reader = as_client(served, RECORDED[key])
            for path, recorded in RECORDED[answers].items():
                answer = reader.get(path).raise_for_status().json()
                assert includes(answer, recorded), (path, answer)
        assert {job.job_id for job in client.jobs.list(labels={"project": "podcast"}).jobs} == {
            jobs["done"],
            jobs["failed"],
        }
        offers = as_client(served, RECORDED["owner_key"]).get("/v1/marketplace/offers?mine=true").json()
        assert RECORDED["offer"] in {offer["offer_id"] for offer in offers["offers"]}
        miner = ScriptedMiner(served.url, SigningKey(bytes.fromhex(RECORDED["miner_key"])))
        assert miner.register().status_code == 200
        leases = {lease["job_id"]: lease for lease in miner.poll(slots=4)}
        assert miner.complete(leases[jobs["queued"]], RESULTS).status_code == 200
        for name in ("audited", "done", "queued"):
            assert verify_bundle(client.receipts.export(jobs[name]), log_key).valid
        seen = open_checkpoint(base64.b64decode(RECORDED["files"]["log.checkpoint"]).decode(), log_key)
        with LogAddress(f"{served.url}/v1/log", trust_env=False) as log:
            report = verify_log(log, Policy.of_log(log_key), known={"0.2.0": seen})
        assert report.failures == ()
