"""`aitbc webhooks listen`: messages are received, verified, passed on and printed in one line."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from aitbc.cli._terminal.webhook_receiver import ReceivedWebhook, WebhookReceiver, signature_error

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
BODY = json.dumps({"type": "job.completed", "data": {"job_id": "job_1", "status": "completed"}})


def _headers(body: str, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Sign a message with the library of the specification, as receivers verify it."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", moment, body),
        "content-type": "application/json",
    }


def test_signatures_are_those_of_the_specification() -> None:
    """Of an old and a new secret, either is enough."""
    now, other = time.time(), "whsec_" + base64.b64encode(b"o" * 24).decode()
    valid = _headers(BODY)
    assert signature_error(SECRET, valid, BODY.encode(), now) is None
    assert signature_error(other, valid, BODY.encode(), now) == "its signature is not valid"
    assert signature_error(SECRET, valid, BODY.encode() + b" ", now) == "its signature is not valid"
    assert "time" in str(signature_error(SECRET, valid, BODY.encode(), now + 301))
    assert "time" in str(signature_error(SECRET, {}, BODY.encode(), now))
    both = f"{_headers(BODY, other)['webhook-signature']} {valid['webhook-signature']}"
    assert signature_error(SECRET, {**valid, "webhook-signature": both}, BODY.encode(), now) is None


@pytest.fixture
def program() -> Iterator[tuple[str, list[bytes]]]:
    """A program that gets the messages, and answers 202."""
    bodies: list[bytes] = []

    class Program(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Program) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        server.shutdown()


def test_only_valid_messages_are_passed_on(program) -> None:
    """The answer of the program is the answer to the coordinator, which repeats the message if the program failed."""
    url, bodies = program
    received: list[ReceivedWebhook] = []
    with WebhookReceiver(0, SECRET, url, received.append) as receiver:
        threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
        with httpx.Client(trust_env=False, timeout=300) as http:
            assert http.post(receiver.url, content=BODY, headers=_headers(BODY)).status_code == 202
            forged = {**_headers(BODY), "webhook-signature": "v1,AAAA"}
            assert http.post(receiver.url, content=BODY, headers=forged).status_code == 400
            receiver.forward = "http://127.0.0.1:9/nobody"
            assert http.post(receiver.url, content=BODY, headers=_headers(BODY)).status_code == 502
        receiver.shutdown()
    assert bodies == [BODY.encode()]
    assert [message.error for message in received] == [None, "its signature is not valid", None]
    assert "answered 202" in str(received[0].forwarded)


def test_a_job_is_run_again_and_its_message_ends_the_command(quick, coordinator) -> None:
    """The line names the message, the job and the verdict on the signature."""
    coordinator.answers["GET /v1/webhooks/secret"] = {"secret": SECRET, "created_at": "2026-11-24T15:00:00Z"}
    coordinator.answers["POST /v1/jobs/job_1/rerun"] = {"job_id": "job_1", "status": "submitted"}

    def deliver() -> None:
        deadline = time.monotonic() + 60
        while not coordinator.bodies and time.monotonic() < deadline:
            time.sleep(0.01)
        url = coordinator.bodies[-1]["webhook_url"]
        other = BODY.replace("job_1", "job_2")
        with httpx.Client(trust_env=False, timeout=300) as http:
            for body in (other, BODY):
                http.post(url, content=body, headers=_headers(body)).raise_for_status()

    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    done = quick("webhooks", "listen", "--port", "0", "--job", "job_1")
    thread.join(60)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()]
    assert lines == [
        "job.completed  job_2  signature valid",
        "job.completed  job_1  signature valid",
    ]
    assert coordinator.bodies[-1]["webhook_url"].startswith("http://127.0.0.1:")
