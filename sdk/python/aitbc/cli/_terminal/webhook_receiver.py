"""A server on this machine that receives webhooks, verifies their signature, and passes them on."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

TOLERANCE_SECONDS = 300
"""How far a message's time may be off, so that a message that somebody has recorded cannot be sent again later."""
MOST_BYTES = 2**20
FORWARD_SECONDS = 15.0
"""Time limit of a message that is passed on; the coordinator waits no longer either."""
_PASSED_ON = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")
_ACCEPTED, _REFUSED, _TOO_LARGE, _FORWARD_FAILED = 204, 400, 413, 502


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """A message that has arrived. `error` says why it must not be trusted; `forwarded` is the answer of the program that got it."""

    message: Mapping[str, Any]
    webhook_id: str
    error: str | None
    forwarded: str | None
    status: int


def signature_error(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Return why a message is not of the coordinator (Standard Webhooks), or None if it is. `headers` have lower-case names."""
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return "its time is missing or too far from now"
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return "the secret is not of the form whsec_..."
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = base64.b64encode(digest).decode()
    # Several while a secret is being replaced.
    signatures = headers.get("webhook-signature", "").split()
    own_scheme = [signature.removeprefix("v1,") for signature in signatures if signature.startswith("v1,")]
    if any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in own_scheme):
        return None
    return "its signature is not valid"


class WebhookReceiver(ThreadingHTTPServer):
    """Listens on 127.0.0.1 and calls `on_received` for each message. With `forward`, passes valid messages on to that address."""

    # The end waits for the answers, so that the coordinator does not repeat the last message.
    daemon_threads = False

    def __init__(
        self, port: int, secret: str, forward: str | None, on_received: Callable[[ReceivedWebhook], None]
    ) -> None:
        super().__init__(("127.0.0.1", port), _MessageHandler)
        self.secret = secret
        self.forward = forward
        self.on_received = on_received

    @property
    def url(self) -> str:
        """The address for a job's `webhook_url`."""
        return f"http://127.0.0.1:{self.server_port}/"


class _MessageHandler(BaseHTTPRequestHandler):
    server: WebhookReceiver
    timeout = 2 * FORWARD_SECONDS

    def do_POST(self) -> None:
        """Receive one message."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self._answer(_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        error = signature_error(self.server.secret, headers, body, time.time())
        try:
            content: Any = json.loads(body)
        except ValueError:
            content, error = {}, error or "it is not JSON"
        forwarded, status = None, _ACCEPTED if error is None else _REFUSED
        # What anybody could have sent is shown, and passed on to nobody.
        if error is None and self.server.forward is not None:
            forwarded, status = _forward(self.server.forward, headers, body)
        message = content if isinstance(content, dict) else {}
        self.server.on_received(
            ReceivedWebhook(message, headers.get("webhook-id", ""), error, forwarded, status)
        )
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing: each message has its own line."""


def _forward(url: str, headers: Mapping[str, str], body: bytes) -> tuple[str, int]:
    """Return what happened, and the status for the coordinator, which repeats the message if the program failed."""
    passed_on = {name: headers[name] for name in _PASSED_ON if name in headers}
    try:
        answer = httpx.post(url, content=body, headers=passed_on, timeout=FORWARD_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{url} failed: {error}", _FORWARD_FAILED
    milliseconds = answer.elapsed.total_seconds() * 1000
    return f"{url} answered {answer.status_code} in {milliseconds:.0f} ms", answer.status_code
