"""The calls of owners and administrators. Both clients run every test, over real HTTP."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import pytest

from aitbc import AITBCClient, AsyncAITBCClient
from aitbc.answers.accounts import Key
from aitbc.answers.miners import MinerDetails

MINER: dict[str, Any] = {
    "miner_id": "miner_1", "name": "rig-1", "online": True, "seen_at": "now", "registered_at": "then", "session": 4, "agent_version": None,
    "paused": None, "slots": 1, "cpu_cores": 16, "memory": 1, "disk_free": 2, "sandbox": "landlock", "unavailable": {"video_transcoding": ["no ffmpeg"]},
    "gpus": [{"uuid": "GPU-0", "index": 0, "name": None, "paused": "by hand"}],
    "services": [{"service_id": "llm_inference", "models": ["a"], "loaded": [], "unavailable_models": [], "unit_price": "0.1", "unit": "token"}],
    "idle": [{"reason": "working", "share": 1}], "downloads": [], "jobs": [{"job_id": "job_1", "service_id": "s", "progress": 5, "started_at": None}],
    "commands": [{"command_id": "command_1", "command": "pause", "created_at": "now", "gpu": "GPU-0", "seconds": None, "model": None}],
    "reputation": 4.8, "total_earned": "1.5",
}  # fmt: skip
KEY = {"key_id": "key_1", "role": "client", "name": "mine", "account_id": "account_1", "created_at": "now"}
ENROLMENT = {
    "enrolment_id": "enrolment_1", "status": "used", "note": "", "uses": 1, "uses_left": 0, "created_at": "then", "expires_at": "soon",
    "miners": [{"miner_id": "miner_1", "name": "rig-1"}],
}  # fmt: skip
COMMAND = {"command_id": "command_1", "command": "pause", "created_at": "now"}


def test_miners(calls, coordinator) -> None:
    coordinator.answers = {
        "GET /v1/miners": {"miners": [MINER], "total": 1, "limit": 5, "offset": 0},
        "GET /v1/miners/miner_1": MINER,
        "GET /v1/miners/miner_1/earnings": {
            "miner_id": "miner_1",
            "days": [{"date": "2026-11-25", "amount": "1.25", "jobs": 12}],
            "total": "1.25",
        },
    }
    page = calls(lambda client: client.miners.list(limit=5))
    assert (page.total, page.miners[0].gpus[0].paused, coordinator.asked[-1]) == (
        1,
        "by hand",
        "limit=5&offset=0",
    )
    miner = calls(lambda client: client.miners.get("miner_1"))
    assert isinstance(miner, MinerDetails)
    assert miner.to_dict() == MINER
    assert (miner.commands[0].command, miner.idle[0].share, miner.unavailable) == (
        "pause",
        1,
        {"video_transcoding": ["no ffmpeg"]},
    )
    earned = calls(lambda client: client.miners.earnings("miner_1", days=7))
    assert (earned.days[0].amount, coordinator.asked[-1]) == ("1.25", "days=7")


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        (lambda client: client.miners.pause("miner_1"), "POST /v1/miners/miner_1/pause", {}),
        (
            lambda client: client.miners.pause("miner_1", gpu="GPU-0", seconds=60),
            "POST /v1/miners/miner_1/pause",
            {"gpu": "GPU-0", "seconds": 60},
        ),
        (
            lambda client: client.miners.resume("miner_1", gpu="GPU-0"),
            "POST /v1/miners/miner_1/resume",
            {"gpu": "GPU-0"},
        ),
        (
            lambda client: client.miners.fetch_model("miner_1", "tiny"),
            "POST /v1/miners/miner_1/models",
            {"model": "tiny"},
        ),
        (
            lambda client: client.miners.remove_model("miner_1", "tiny.en"),
            "DELETE /v1/miners/miner_1/models/tiny.en",
            None,
        ),
    ],
)
def test_commands_to_miners(calls, coordinator, call, path: str, body) -> None:
    coordinator.answers = {path: COMMAND}
    assert calls(call).command_id == "command_1"
    assert coordinator.paths() == [path]
    assert coordinator.bodies == ([] if body is None else [body])


def test_own_keys_and_login(calls, coordinator) -> None:
    coordinator.answers = {
        "GET /v1/key": KEY,
        "DELETE /v1/key": {},
        "GET /v1/keys": {"keys": [KEY], "limit": 50},
        "POST /v1/keys": {**KEY, "key": "secret"},
        "DELETE /v1/keys/key_2": {},
        "POST /v1/login": {"keys": [{"role": "client", "key": "secret", "key_id": "key_3"}]},
    }
    key = calls(lambda client: client.keys.me())
    assert isinstance(key, Key)
    assert dict(key) == KEY
    assert [dict(one) for one in calls(lambda client: client.keys.list())] == [KEY]
    assert calls(lambda client: client.keys.create("another")).key == "secret"
    assert calls(lambda client: client.keys.revoke("key_2")) is None
    assert calls(lambda client: client.keys.revoke_self()) is None
    assert [one.key_id for one in calls(lambda client: client.login("token_1"))] == ["key_3"]
    assert coordinator.bodies == [{"name": "another"}, {"token": "token_1"}]


def test_a_file_is_deleted(calls, coordinator) -> None:
    """By its id, with or without the scheme of an artifact's address."""
    artifact_id = f"sha256:{'1' * 64}"
    coordinator.answers = {f"DELETE /v1/artifacts/{artifact_id}": {}}
    assert calls(lambda client: client.artifacts.delete(artifact_id)) is None
    assert calls(lambda client: client.artifacts.delete(f"artifact:{artifact_id}")) is None
    assert coordinator.paths() == [f"DELETE /v1/artifacts/{artifact_id}"] * 2


def test_payouts(calls, coordinator) -> None:
    batch = {
        "batch_id": "batch_1", "status": "created", "adapter": "file", "currency": "EUR", "rate": "0.9", "count": 1, "amount": "2",
        "payouts": [
            {"payout_id": "payout_1", "batch_id": "batch_1", "miner_id": "miner_1", "amount": "2", "sent_amount": "1.8", "currency": "EUR", "status": "created"}
        ],
    }  # fmt: skip
    money = {"available": "0", "on_hold": "0", "pending": "2", "paid_out": "0"}
    addresses = {"miner_id": "miner_1", "address": None, "pending": None}
    coordinator.answers = {
        "GET /v1/admin/payouts": {"batches": [batch], "adapters": [], "next": "batch_1"},
        "POST /v1/admin/payouts": batch,
        "GET /v1/admin/payouts/batch_1": batch,
        "POST /v1/admin/payouts/batch_1/approve": {**batch, "status": "approved"},
        "POST /v1/admin/payouts/batch_1/cancel": {**batch, "status": "cancelled"},
        "GET /v1/miners/miner_1/payouts": {"miner_id": "miner_1", **money, "payouts": batch["payouts"]},
        "GET /v1/miners/miner_1/payout-address": addresses,
        "PUT /v1/miners/miner_1/payout-address": addresses,
        "GET /v1/payouts/payout_1/proof": {"index": 0},
    }
    page = calls(lambda client: client.payouts.batches(status="created"))
    assert (page.batches[0].batch_id, page.next, coordinator.asked[-1]) == (
        "batch_1",
        "batch_1",
        "limit=50&status=created",
    )
    assert calls(lambda client: client.payouts.preview("file", "0.9")).amount == "2"
    made = calls(lambda client: client.payouts.create("file", Decimal("0.9"), note="November"))
    assert made.payouts[0].sent_amount == "1.8"
    assert calls(lambda client: client.payouts.batch("batch_1")).count == 1
    assert calls(lambda client: client.payouts.approve("batch_1")).status == "approved"
    assert calls(lambda client: client.payouts.cancel("batch_1")).status == "cancelled"
    assert calls(lambda client: client.payouts.of_miner("miner_1")).pending == "2"
    assert calls(lambda client: client.payouts.address("miner_1")).address is None
    assert calls(lambda client: client.payouts.set_address("miner_1", {"payload": "p"})).pending is None
    assert calls(lambda client: client.payouts.proof("payout_1")) == {"index": 0}
    assert coordinator.bodies == [
        {"adapter": "file", "rate": "0.9", "dry_run": True},
        {"adapter": "file", "rate": "0.9", "note": "November"},
        None,
        None,
        {"payload": "p"},
    ]


def test_administration(calls, coordinator) -> None:
    account = {
        "account_id": "account_1",
        "name": "farm",
        "balance": "1",
        "held": "0",
        "created_at": "now",
    }
    credited = {
        "transaction_id": "tx_1",
        "account_id": "account_1",
        "amount": "0.5",
        "balance": "1.5",
        "created_at": "now",
    }
    coordinator.answers = {
        "GET /v1/admin/accounts": {"accounts": [account], "next": "account_1"},
        "POST /v1/admin/accounts": {"account_id": "account_2", "name": "new"},
        "POST /v1/admin/accounts/account_1/credit": credited,
        "GET /v1/admin/keys": {"keys": [KEY]},
        "POST /v1/admin/keys": {**KEY, "key": "secret"},
        "DELETE /v1/admin/keys/key_1": {},
        "POST /v1/admin/accounts/account_1/debits": {**credited, "balance": "-1"},
        "POST /v1/admin/enrolments": {
            "enrolment_id": "enrolment_1",
            "enrolment_token": "enrol_1",
            "uses": 2,
            "expires_at": "soon",
        },
        "GET /v1/admin/enrolments": {"enrolments": [ENROLMENT], "next": None},
        "DELETE /v1/admin/enrolments/enrolment_1": {},
        "DELETE /v1/admin/miners/miner_1": {
            "miner_id": "miner_1",
            "removed_at": "now",
            "requeued_jobs": 1,
            "ended_offers": 6,
        },
        "GET /v1/admin/history": {
            "metric": "money",
            "period": "week",
            "interval_seconds": 3600,
            "points": [{"time": "now", "figures": {"paid": "0.5"}}],
        },
        "POST /v1/admin/logins": {"token": "t", "path": "/dashboard/#login=t", "expires_at": "soon"},
        "GET /v1/admin/overview": {"jobs": {"running": 1}, "miners": [], "database": {"commits": 1}},
    }
    page = calls(lambda client: client.admin.accounts(limit=1, after="account_0"))
    assert (page.accounts[0].name, page.next, coordinator.asked[-1]) == (
        "farm",
        "account_1",
        "limit=1&after=account_0",
    )
    assert calls(lambda client: client.admin.create_account("new")).account_id == "account_2"
    assert (
        calls(lambda client: client.admin.credit("account_1", Decimal("0.5"), note="a gift")).balance == "1.5"
    )
    assert [dict(one) for one in calls(lambda client: client.admin.keys())] == [KEY]
    assert (
        calls(lambda client: client.admin.create_key("client", "mine", account_id="account_1")).key
        == "secret"
    )
    assert calls(lambda client: client.admin.revoke_key("key_1")) is None
    assert calls(lambda client: client.admin.create_enrolment(uses=2)).uses == 2
    (token,) = calls(lambda client: client.admin.enrolments(before="enrolment_2")).enrolments
    assert (token.status, token.miners[0].name, coordinator.asked[-1]) == (
        "used",
        "rig-1",
        "limit=50&before=enrolment_2",
    )
    assert calls(lambda client: client.admin.revoke_enrolment("enrolment_1")) is None
    assert calls(lambda client: client.admin.remove_miner("miner_1")).ended_offers == 6
    history = calls(lambda client: client.admin.history("money", period="week"))
    assert (history.points[0].figures, coordinator.asked[-1]) == (
        {"paid": "0.5"},
        "metric=money&period=week",
    )
    assert calls(lambda client: client.admin.debit("account_1", "2", force=True)).balance == "-1"
    assert calls(lambda client: client.admin.create_login(miner_id="miner_1")).path == "/dashboard/#login=t"
    assert calls(lambda client: client.admin.overview()).jobs == {"running": 1}
    assert coordinator.bodies == [
        {"name": "new"},
        {"amount": "0.5", "note": "a gift"},
        {"role": "client", "name": "mine", "account_id": "account_1"},
        {"uses": 2, "valid_seconds": 86_400},
        {"amount": "2", "force": True},
        {"miner_id": "miner_1"},
    ]


def test_run_uploads_the_program_and_its_input(calls, coordinator, tmp_path) -> None:
    (tmp_path / "count.py").write_text("def predict(input): return 1")
    (tmp_path / "cat.jpg").write_bytes(b"jpeg")
    job = calls(
        lambda client: client.services.run(
            tmp_path / "count.py",
            input=tmp_path / "cat.jpg",
            requirements=["numpy"],
            parameters={"a": 1},
            name="n",
        )
    )
    assert job.job_id == "job_1"
    assert coordinator.files == {"count.py": b"def predict(input): return 1", "cat.jpg": b"jpeg"}
    assert coordinator.bodies == [
        {
            "type": "ai_inference",
            "model": {"type": "python", "entrypoint": "count.py", "requirements": ["numpy"]},
            "parameters": {"a": 1},
            "name": "n",
            "input": {"type": "file", "format": "jpg"},
        }
    ]


@pytest.mark.parametrize(
    ("name", "entrypoint", "uploaded", "begun"),
    [("m.zip", "main.py", "m.zip", "main.py"), ("m.TAR.GZ", None, "m.TAR.GZ", "model.py"), ("a b.py", None, "model.py", "model.py")],
)  # fmt: skip
def test_archives_and_unusual_names_use_the_entrypoint(
    calls, coordinator, tmp_path, name: str, entrypoint: str | None, uploaded: str, begun: str
) -> None:
    (tmp_path / name).write_bytes(b"program")
    calls(lambda client: client.services.run(tmp_path / name, entrypoint=entrypoint))
    assert list(coordinator.files) == [uploaded]
    assert coordinator.bodies[0]["model"]["entrypoint"] == begun


def test_an_archive_as_the_input_of_a_program_retains_its_name(calls, coordinator, tmp_path) -> None:
    """It is stored as a file of the account: uploaded to the job, it would be taken for the program."""
    (tmp_path / "count.py").write_bytes(b"def predict(input): return 1")
    (tmp_path / "photos.zip").write_bytes(b"archive")
    digest = hashlib.sha256(b"archive").hexdigest()
    coordinator.answers = {"POST /v1/artifacts": {"artifact_id": f"sha256:{digest}", "size": 7}}
    calls(lambda client: client.services.run(tmp_path / "count.py", input=tmp_path / "photos.zip"))
    assert coordinator.files == {"count.py": b"def predict(input): return 1"}
    assert coordinator.bodies[-1]["input"] == {
        "type": "file",
        "format": "zip",
        "source": f"artifact:sha256:{digest}",
    }


def test_upload_an_input_file_of_a_job(calls, coordinator) -> None:
    calls(lambda client: client.jobs.upload("job_1", "a.bin", b"bytes", media_type="text/plain"))
    assert coordinator.files == {"a.bin": b"bytes"}
    assert coordinator.seen[0][2]["content-type"] == "text/plain"


def test_link(calls, coordinator) -> None:
    identifier = "sha256:" + "0" * 64
    path = f"POST /v1/artifacts/{identifier}/links"
    coordinator.answers = {path: {"url": "/v1/artifacts/x?signature=y", "expires_at": "soon"}}
    assert (
        calls(lambda client: client.artifacts.link(f"artifact:{identifier}", seconds=60)).expires_at == "soon"
    )
    assert coordinator.bodies == [{"seconds": 60}]


def test_both_clients_have_the_same_groups() -> None:
    for name in ("keys", "admin", "miners", "login"):
        pair = [getattr(kind("k", "http://localhost:1"), name) for kind in (AITBCClient, AsyncAITBCClient)]
        calls = {frozenset(attribute for attribute in dir(group) if attribute[0] != "_") for group in pair}
        assert len(calls) == 1
