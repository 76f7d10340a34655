"""Sends generated requests as a client does, and follows their jobs to the end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from campaign.broken.request import Request, Upload

PAUSE_SECONDS: Final = 0.15
JOB_SECONDS: Final = 900.0
"""How long a job may take, with its wait for a slot, before the client cancels it and the campaign reports it."""
FINAL: Final = frozenset(("completed", "failed", "cancelled"))
PROMISED: Final = frozenset(("SERVICE_UNAVAILABLE", "INSUFFICIENT_STORAGE", "ANSWER_TIMEOUT"))
"""Codes of 5xx answers that ask a client to wait, or report that its request takes too long."""


@dataclass
class Outcome:
    """What became of a request: `ended` is the job's state, `refused`, or `left`; `violation` says what must not happen."""

    number: int
    request: Request
    ended: str = ""
    code: str = ""
    message: str = ""
    job_id: str | None = None
    violation: str = ""
    seconds: float = 0.0


class Sender:
    """One client."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=JOB_SECONDS
        )
        self._socket = url.replace("http", "ws", 1)
        self._key = key

    def close(self) -> None:
        self._http.close()

    def send(self, number: int, request: Request) -> Outcome:
        """Send a request and wait until it has ended."""
        outcome = Outcome(number, request)
        began = time.monotonic()
        try:
            if request.messages:
                self._stream(outcome)
            elif request.path == "/v1/jobs" or request.path.startswith("/v1/services/"):
                self._job(outcome)
            else:
                self._answer(outcome)
        except httpx.TransportError as error:
            outcome.violation = f"no answer: {error!r}"
        outcome.seconds = time.monotonic() - began
        return outcome

    def _stored(self, value: Any) -> Any:
        """Return a body with references to its files, which are stored first."""
        if isinstance(value, Upload):
            answer = self._http.post(
                "/v1/artifacts", content=value.content, headers={"Content-Type": "application/octet-stream"}
            )
            return f"artifact:{answer.raise_for_status().json()['artifact_id']}"
        if isinstance(value, Mapping):
            return {name: self._stored(item) for name, item in value.items()}
        return [self._stored(item) for item in value] if isinstance(value, list) else value

    def _job(self, outcome: Outcome) -> None:
        request = outcome.request
        answer = self._post(request.path, self._stored(request.body))
        if not self._accepted(outcome, answer):
            return
        outcome.job_id = answer.json()["job_id"]
        for name, content in request.files.items():
            path = f"/v1/jobs/{outcome.job_id}/files/{name}"
            if not self._accepted(outcome, self._http.put(path, content=content)):
                self._http.delete(f"/v1/jobs/{outcome.job_id}")
                return
        if request.leave_after is not None:
            time.sleep(request.leave_after)
            self._accepted(outcome, self._http.delete(f"/v1/jobs/{outcome.job_id}"))
        self._follow(outcome)

    def _follow(self, outcome: Outcome) -> None:
        end = time.monotonic() + JOB_SECONDS
        pause = PAUSE_SECONDS
        while True:
            job = self._http.get(f"/v1/jobs/{outcome.job_id}").json()
            if job["status"] in FINAL:
                break
            late = time.monotonic() > end
            if late or (pause >= 1 and job["status"] == "submitted" and self._waits_for_others(outcome)):
                if late:
                    outcome.violation = f"still {job['status']} after {JOB_SECONDS:g} s"
                self._http.delete(f"/v1/jobs/{outcome.job_id}")
            time.sleep(pause)
            pause = min(pause * 1.5, 3.0)
        outcome.ended = job["status"]
        error = job.get("error") or {}
        outcome.code, outcome.message = error.get("code", ""), error.get("message", "")
        if outcome.ended == "completed":
            self._accepted(outcome, self._http.get(f"/v1/jobs/{outcome.job_id}/results"))

    def _waits_for_others(self, outcome: Outcome) -> bool:
        """Return whether the job has failed here without anybody's fault, such as for want of a GPU, so that it waits for another miner."""
        reasons = self._http.get(f"/v1/jobs/{outcome.job_id}/explain").json()["reasons"]
        return any(reason["code"] == "FAILED_THERE" for reason in reasons)

    def _answer(self, outcome: Outcome) -> None:
        request = outcome.request
        timeout = JOB_SECONDS if request.leave_after is None else max(0.05, request.leave_after)
        try:
            if request.form is None:
                answer = self._post(request.path, request.body, timeout=timeout)
            else:
                fields, data = request.form
                answer = self._http.post(
                    request.path, data=fields, files={"file": ("speech", data)}, timeout=timeout
                )
        except httpx.ReadTimeout:
            outcome.ended = "left"
            if request.leave_after is None:
                outcome.violation = f"no answer within {JOB_SECONDS:g} s"
            return
        outcome.job_id = answer.headers.get("X-Job-ID")
        if self._accepted(outcome, answer):
            outcome.ended = "completed"
            _read_events(outcome, answer.text)

    def _post(self, path: str, body: Any, timeout: float = JOB_SECONDS) -> httpx.Response:
        # Python's own JSON escapes surrogates, and writes numbers that JSON does not have.
        return self._http.post(
            path, content=json.dumps(body), headers={"Content-Type": "application/json"}, timeout=timeout
        )

    def _accepted(self, outcome: Outcome, answer: httpx.Response) -> bool:
        """Return whether a request succeeded, and record the error otherwise."""
        if answer.is_success:
            return True
        error = answer.json().get("error", {})
        outcome.code, outcome.message = error.get("code", ""), error.get("message", "")
        outcome.ended = outcome.ended or "refused"
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and outcome.code not in PROMISED:
            outcome.violation = f"{answer.status_code} {outcome.code}: {outcome.message[:300]}"
        return False

    def _stream(self, outcome: Outcome) -> None:
        outcome.ended = "completed"
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            with connect(
                f"{self._socket}{outcome.request.path}", additional_headers=headers, open_timeout=30
            ) as socket:
                for message in outcome.request.messages:
                    socket.send(message)
                    socket.recv(timeout=30)
        except ConnectionClosed as closed:
            outcome.ended = "refused"
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            if code in (1006, 1011) or code >= 4500:
                outcome.violation = f"closed with {code}"
        except (WebSocketException, TimeoutError, OSError) as error:
            outcome.violation = f"{error!r}"


def _read_events(outcome: Outcome, text: str) -> None:
    """Record the error that ends a stream."""
    if not text.startswith(("data:", "event:", ":")):
        return
    for line in text.splitlines():
        if line.startswith("data: {") and '"error"' in line:
            error = _error_in(json.loads(line.removeprefix("data: ")))
            if error:
                outcome.ended, outcome.code, outcome.message = (
                    "failed",
                    str(error.get("code")),
                    str(error.get("message")),
                )


def _error_in(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return event.get("error") or (event.get("response") or {}).get("error") or {}


def without_ids(message: str) -> str:
    """Return a message without what differs between requests."""
    return re.sub(r"\d+", "N", re.sub(r"'[^']{20,}'", "'...'", message))[:160]


def violations(outcomes: Iterable[Outcome]) -> list[str]:
    """Return what must not have happened, for the report."""
    return [
        f"request {outcome.number} ({outcome.request.service}: {outcome.request.kind}): {outcome.violation}"
        for outcome in outcomes
        if outcome.violation
    ]
