"""Webhooks: signed messages that reach only their receivers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, event
from standardwebhooks.webhooks import WebhookVerificationError

from agent.coordinator.features.webhooks import store
from agent.core.values.quantities import parse_time
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER, submit
from support.server import Served, serve
from support.servers.receiver import PUBLIC, Receiver

HOOK = "https://hooks.example/jobs?of=mine"
RESULTS = {"text": "a secret transcript", "units": 1.5, "processing_time": 0.5}
LIMIT_SECONDS = 180
QUICK = {"retry_delays": [0.05, 0.05, 0.05], "timeout_seconds": 5}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def stage(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that starts a coordinator in the receiver's network with the given webhook settings."""
    monkeypatch.setattr("agent.coordinator.features.webhooks.sender.internet", receiver.network)

    @contextmanager
    def start(**webhooks: Any) -> Iterator[Stage]:
        settings = {**QUICK, **webhooks}
        with serve(tmp_path / "data", open_enrolment=True, webhooks=settings) as served:
            miner = ScriptedMiner(served.url)
            assert miner.register().status_code == 200
            yield Stage(served, miner)

    return start


class Stage:
    """A coordinator with a miner and two clients."""

    def __init__(self, served: Served, miner: ScriptedMiner) -> None:
        self.served = served
        self.miner = miner
        self.client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        self.other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})

    def finish(self, url: str = HOOK, client: httpx.Client | None = None) -> str:
        """Submit and complete a job, and return its id."""
        job_id = submit(client or self.client, webhook_url=url)
        (lease,) = self.miner.poll()
        assert self.miner.complete(lease, RESULTS).status_code == 200
        return job_id

    def secret(self) -> str:
        secret: str = self.client.get("/v1/webhooks/secret").json()["secret"]
        return secret

    def webhook(self, job_id: str, *states: str) -> dict[str, Any]:
        """Return the job's only message once it is in one of the states, by default any final state."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            (webhook,) = self.client.get(f"/v1/jobs/{job_id}/webhooks").json()["webhooks"]
            if webhook["status"] in states or (not states and webhook["status"] != "pending"):
                return webhook
            assert time.monotonic() < deadline, webhook
            time.sleep(0.01)  # between two requests


def test_each_final_state_is_sent_once_with_a_valid_signature(stage: Any, receiver: Receiver) -> None:
    """The library that receivers use verifies it. The messages contain neither results nor inputs."""
    with stage() as on:
        secret = on.secret()
        completed = on.finish()
        failed = submit(on.client, webhook_url=HOOK)
        (lease,) = on.miner.poll()
        assert on.miner.job(lease, "fail", kind="fail", code="INPUT_BAD", message="a secret").is_success
        cancelled = submit(on.client, webhook_url=HOOK, labels={"project": "podcast"})
        on.client.delete(f"/v1/jobs/{cancelled}")
        submit(on.client)
        messages = {item.webhook_id: item for item in receiver.wait(3)}
        payloads = {
            job_id: messages[f"msg_{job_id[4:]}"].verified(secret)
            for job_id in (completed, failed, cancelled)
        }
        service = {"service_id": "whisper_transcription"}
        for job_id, status, more in (
            (completed, "completed", {}),
            (failed, "failed", {"error": {"code": "INPUT_BAD"}}),
            (cancelled, "cancelled", {"labels": {"project": "podcast"}}),
        ):
            job = on.client.get(f"/v1/jobs/{job_id}").json()
            assert payloads[job_id] == {
                "type": f"job.{status}",
                "timestamp": job[f"{status}_at"],
                "data": {"job_id": job_id, "status": status, **service, **more},
            }
            webhook = on.webhook(job_id, "delivered")
            assert (webhook["attempts"], webhook["last_status_code"], webhook["url"]) == (1, 204, HOOK)
            assert "last_error" not in webhook
        assert {item.path for item in messages.values()} == {"/jobs?of=mine"}
        assert b"secret" not in b"".join(item.body for item in messages.values())
        assert len(receiver.received) == 3
        with pytest.raises(WebhookVerificationError):
            messages[f"msg_{completed[4:]}"].verified("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_a_job_that_runs_again_has_the_webhook_of_the_first_one(stage: Any, receiver: Receiver) -> None:
    """Without the fragment of its address, which is not sent. A job whose data was deleted has none any more."""
    with stage() as on:
        first = on.finish(f"{HOOK}#part")
        again = on.client.post(f"/v1/jobs/{first}/rerun").json()["job_id"]
        on.client.delete(f"/v1/jobs/{again}")
        assert on.webhook(again, "delivered")["url"] == on.webhook(first, "delivered")["url"] == HOOK
        on.client.delete(f"/v1/jobs/{first}/data").raise_for_status()
        urls = on.served.context.database.read_now(store.urls_of, (first, again))
        assert urls == {again: HOOK}


def test_a_failed_attempt_is_repeated_with_the_same_id_and_a_new_signature(
    stage: Any, receiver: Receiver
) -> None:
    receiver.answers.extend([500, (302, {"Location": "https://hooks.example/elsewhere"}), 404])
    with stage() as on:
        job_id = on.finish()
        messages = receiver.wait(4)
        assert {item.webhook_id for item in messages} == {f"msg_{job_id[4:]}"}
        assert {item.path for item in messages} == {"/jobs?of=mine"}
        assert len({item.body for item in messages}) == 1
        for item in messages:
            item.verified(on.secret())
        assert on.webhook(job_id, "delivered")["attempts"] == 4


def test_a_message_fails_after_the_last_attempt(stage: Any, receiver: Receiver) -> None:
    receiver.answers.extend([500, 500, (307, {"Location": "https://127.0.0.1/"})])
    with stage(retry_delays=[0.05, 0.05]) as on:
        webhook = on.webhook(on.finish(), "failed")
        assert (webhook["attempts"], webhook["last_status_code"]) == (3, 307)
        assert webhook["last_error"] == "the receiver answered 307; redirects are not followed"
        assert "next_attempt_at" not in webhook
        assert len(receiver.received) == 3
        assert set(receiver.reached) == {PUBLIC}


def test_retry_after_is_respected(stage: Any, receiver: Receiver) -> None:
    receiver.answers.append((503, {"Retry-After": "3600"}))
    with stage() as on:
        job_id = on.finish()
        receiver.wait(1)
        deadline = time.monotonic() + LIMIT_SECONDS
        while "last_status_code" not in (webhook := on.webhook(job_id, "pending")):
            assert time.monotonic() < deadline
        gap = parse_time(webhook["next_attempt_at"]) - parse_time(webhook["last_attempt_at"])
        assert 3600 <= gap < 3660


def test_a_receiver_that_answered_410_gets_no_messages_of_earlier_jobs(
    stage: Any, receiver: Receiver
) -> None:
    """It gets messages of later jobs, whose clients name it again."""
    receiver.answers.append(410)
    with stage() as on:
        before = submit(on.client, webhook_url=HOOK)
        (lease,) = on.miner.poll()
        first = on.finish()
        ended = on.webhook(first)
        assert f"{ended['last_status_code']} {ended['status']}" == "410 gone"
        assert on.miner.complete(lease, RESULTS).status_code == 200
        unsent = on.webhook(before)
        assert (unsent["status"], unsent["attempts"]) == (ended["status"], 0)
        after = on.finish()
        on.webhook(after, "delivered")
        assert [item.webhook_id for item in receiver.received] == [f"msg_{first[4:]}", f"msg_{after[4:]}"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://hooks.example/", "https://"),
        ("ftp://hooks.example/", "https://"),
        ("hooks.example", "https://"),
        ("", "https://"),
        ("https://127.0.0.1/", "private"),
        ("https://10.1.2.3/", "private"),
        ("https://[::1]/", "private"),
        ("https://[::ffff:169.254.169.254]/latest", "private"),
        ("https://localhost/", "private"),
        ("https://printer.local/", "private"),
        ("https://2130706433/", "private"),
        ("https://user:secret@hooks.example/", "password"),
        ("https://hooks.example:22/", "port"),
        ("https://hooks.example:99999/", "URL"),
        ("https://[broken", "URL"),
        ("https://exa mple/", "URL"),
        (f"https://hooks.example/{'x' * 2000}", "2000"),
    ],
)
def test_an_address_that_is_never_allowed_is_refused_on_submission(
    client: httpx.Client, address: str, words: str
) -> None:
    """This holds for jobs and for service calls."""
    for path, body in (
        ("/v1/services/whisper/transcribe", WHISPER),
        ("/v1/jobs", {"type": "whisper-transcription", "parameters": WHISPER}),
    ):
        answer = client.post(path, json={**body, "webhook_url": address})
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["error"]["details"]["fields"]["webhook_url"]
    assert client.get("/v1/jobs").json()["total"] == 0


def test_a_name_of_a_private_address_is_not_connected_to(stage: Any, receiver: Receiver) -> None:
    receiver.names["inside.example"] = lambda: ["10.0.0.7"]
    receiver.names["both.example"] = lambda: [PUBLIC, "::1"]
    with stage(retry_delays=[0.01]) as on:
        for host in ("inside.example", "both.example"):
            webhook = on.webhook(on.finish(f"https://{host}/"), "failed")
            assert webhook["last_error"] == f"{host} is not on the public internet"
            assert "last_status_code" not in webhook
        assert on.webhook(on.finish("https://nowhere.example/"), "failed")["last_error"] == (
            "There is no host nowhere.example"
        )
        assert receiver.reached == []


def test_a_name_that_changes_to_a_private_address_is_not_connected_to(stage: Any, receiver: Receiver) -> None:
    """Each connection goes to the address that was checked for it, and the next one resolves the name again."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["169.254.169.254"]])
    receiver.names["hooks.example"] = lambda: next(answers)
    receiver.answers.append(500)
    with stage(retry_delays=[0.05, 0.05]) as on:
        webhook = on.webhook(on.finish(), "failed")
        assert webhook["attempts"] == 3
        assert receiver.reached == [PUBLIC]


def test_an_internal_error_counts_as_a_failed_attempt(stage: Any, receiver: Receiver) -> None:
    receiver.names["hooks.example"] = lambda: [str(1 // 0)]
    with stage(retry_delays=[0.01]) as on:
        webhook = on.webhook(on.finish(), "failed")
        assert (webhook["attempts"], "failed to send" in webhook["last_error"]) == (2, True)


def test_a_server_with_a_wrong_certificate_gets_no_message(stage: Any, receiver: Receiver) -> None:
    receiver.names["other.example"] = lambda: [PUBLIC]
    with stage(retry_delays=[0.01]) as on:
        webhook = on.webhook(on.finish("https://other.example/"), "failed")
        assert webhook["last_error"].startswith("the certificate is not valid")
        assert receiver.received == []


def test_a_slow_receiver_delays_no_other_receiver(stage: Any, receiver: Receiver) -> None:
    gate = threading.Event()
    with stage(max_concurrent=4, max_per_account=3, max_per_host=2, timeout_seconds=60) as on:
        receiver.answers.extend([gate] * 2)
        slow = [on.finish("https://hooks.example:8443/slow") for _ in range(6)]
        receiver.wait(2)
        assert on.webhook(on.finish(), "delivered")["attempts"] == 1
        job_of_other = on.finish(client=on.other)
        message = receiver.wait(4)[-1]
        assert message.webhook_id == f"msg_{job_of_other[4:]}"
        assert sum(item.path == "/slow" for item in receiver.received) == 2
        gate.set()
        for job_id in slow:
            on.webhook(job_id, "delivered")


def test_a_request_that_is_not_answered_in_time_is_retried(stage: Any, receiver: Receiver) -> None:
    gate = threading.Event()
    receiver.answers.append(gate)
    with stage(timeout_seconds=1) as on:
        job_id = on.finish()
        # More than two where the machine answers too late as well.
        assert on.webhook(job_id, "delivered")["attempts"] >= 2
        gate.set()


def test_old_and_new_secret_both_sign_for_a_time_after_rotation(
    stage: Any, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    with stage() as on:
        old = on.client.get("/v1/webhooks/secret").json()
        assert old["secret"] == on.secret()
        assert "previous_valid_until" not in old
        new = on.client.post("/v1/webhooks/secret/rotate").json()
        assert new["secret"] != old["secret"]
        assert parse_time(new["previous_valid_until"]) - parse_time(new["created_at"]) == pytest.approx(
            86_400
        )
        assert on.secret() == new["secret"]
        on.finish()
        (message,) = receiver.wait(1)
        assert len(message.headers["webhook-signature"].split()) == 2
        assert message.verified(old["secret"]) == message.verified(new["secret"])
        assert on.other.get("/v1/webhooks/secret").json()["secret"] not in (old["secret"], new["secret"])
        admin = httpx.get(f"{on.served.url}/v1/webhooks/secret", headers={"X-API-Key": on.served.admin_key})
        assert (admin.status_code, admin.json()["error"]["code"]) == (409, "CONFLICT")
    logged = "".join(capfd.readouterr())
    assert "webhook_attempted" in logged
    assert not any(word in logged for word in ("whsec_", old["secret"][6:], new["secret"][6:], "of=mine"))


def test_an_old_secret_no_longer_signs_after_the_overlap(stage: Any, receiver: Receiver) -> None:
    with stage(secret_overlap_seconds=0) as on:
        old = on.secret()
        new = on.client.post("/v1/webhooks/secret/rotate").json()["secret"]
        on.finish()
        (message,) = receiver.wait(1)
        message.verified(new)
        with pytest.raises(WebhookVerificationError):
            message.verified(old)


def test_another_accounts_webhooks_are_not_found(stage: Any, receiver: Receiver) -> None:
    with stage() as on:
        job_id = on.finish()
        answer = on.other.get(f"/v1/jobs/{job_id}/webhooks")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "JOB_NOT_FOUND")
        without = submit(on.client)
        assert on.client.get(f"/v1/jobs/{without}/webhooks").json() == {"webhooks": []}


def test_a_lease_does_not_contain_the_webhook_url(stage: Any, receiver: Receiver) -> None:
    with stage() as on:
        submit(on.client, webhook_url=HOOK)
        (lease,) = on.miner.poll()
        assert "hooks.example" not in json.dumps(lease)


def test_finished_messages_are_pruned(stage: Any, receiver: Receiver) -> None:
    with stage() as on:
        job_id = on.finish()
        done = parse_time(on.webhook(job_id, "delivered")["finished_at"])
        for before, count in ((done - 1, 1), (done + 1, 0)):
            on.served.do(lambda context, before=before: context.database.write(store.prune, before))
            assert len(on.client.get(f"/v1/jobs/{job_id}/webhooks").json()["webhooks"]) == count


@pytest.mark.sqlite
def test_due_messages_are_read_from_an_index(stage: Any) -> None:
    """The query does not read finished messages."""

    def plan(connection: Connection) -> list[str]:
        statements: list[tuple[str, Any]] = []

        def record(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", record)
        store.due(connection, 1.0, busy_accounts=["a"], busy_lanes=["b"], limit=9)
        store.of_job(connection, "job_1")
        event.remove(connection, "before_cursor_execute", record)
        return [
            str(row[3])
            for statement, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    with stage() as on:
        steps = on.served.do(lambda context: context.database.read(plan))
    assert any("USING INDEX ix_webhook_deliveries_due" in step for step in steps), steps
    assert not any(step.startswith("SCAN webhook_deliveries") for step in steps), steps


def test_a_refused_address_names_the_setting_that_allows_it(client: httpx.Client) -> None:
    """People who try webhooks at home run the coordinator too, and can change it."""
    body = {"audio_url": "https://example.com/a.mp3", "model": "base"}
    for url, setting in (
        ("http://192.168.1.7:9000/hook", "coordinator.webhooks.allow_http"),
        ("https://192.168.1.7:9000/hook", "coordinator.webhooks.allow_private"),
    ):
        answer = client.post("/v1/services/whisper/transcribe", json={**body, "webhook_url": url})
        assert answer.status_code == 422
        assert setting in answer.json()["error"]["details"]["fields"]["webhook_url"]
