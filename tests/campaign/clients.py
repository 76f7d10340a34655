"""The clients of a campaign: they submit jobs of every kind continuously and record the accepted ones."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from campaign.runner import SERVICE

PAUSE_SECONDS: Final = 0.05
TIMEOUT_SECONDS: Final = 4.0
_RETRYABLE: Final = frozenset({408, 409, 423, 425, 429, 507})
"""Client errors after which a request is retried."""
KINDS: Final = {
    "echo": 5,
    "slow": 2,
    "file": 3,
    "read": 2,
    "resumable": 2,
    "video": 2,
    "fail": 1,
    "cancel": 1,
}
"""Kinds of jobs and their relative frequency."""
TUS: Final = {"Tus-Resumable": "1.0.0"}


class GivenUp(Exception):
    """The campaign ended before this request had a response."""


class Clients:
    """Several clients. `accepted` are the jobs with a 201 response, `refused` the requests that were refused for no reason."""

    def __init__(
        self,
        url: str,
        key: str,
        video: Path,
        *,
        seed: int,
        count: int,
        open_jobs: Callable[[], int],
        most_open: int,
        webhook_url: str,
    ) -> None:
        self.accepted: dict[str, str] = {}
        self.refused: list[str] = []
        self._url, self._key, self._video, self._seed = url, key, video.read_bytes(), seed
        self._open_jobs, self._most_open = open_jobs, most_open
        self._webhook_url = webhook_url
        self._paused = threading.Event()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"client-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self, seconds: float) -> bool:
        """Stop submitting, and finish pending submissions. Returns whether all clients have ended in time."""
        self._paused.set()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._ending.set()
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int) -> None:
        chance = random.Random(f"{self._seed}-client-{number}")  # noqa: S311 - a campaign is repeated by its seed
        headers = {"Authorization": f"Bearer {self._key}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=TIMEOUT_SECONDS) as http:
            client = _Client(http, self._ending)
            count = 0
            while not self._paused.is_set():
                if self._open_jobs() >= self._most_open:
                    time.sleep(PAUSE_SECONDS)
                    continue
                count += 1
                try:
                    self._submit(client, f"{self._seed}-{number}-{count}", chance)
                except GivenUp:
                    return
                except httpx.HTTPStatusError as error:
                    self.refused.append(
                        f"{error.request.method} {error.request.url.path}: {error.response.status_code} "
                        f"{error.response.text[:300]}"
                    )

    def _submit(self, client: _Client, name: str, chance: random.Random) -> None:
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        text, seconds = f"{name} {chance.random()}", chance.uniform(0.1, 0.6)
        has_webhook = chance.random() < 0.2
        body: dict[str, Any] = {"name": name, "type": SERVICE, "max_attempts": 10, "timeout_seconds": 120}
        body["pricing"] = {"max_cost": "0.01"}
        if has_webhook:
            body["webhook_url"] = self._webhook_url
        match kind:
            case "echo" | "fail" | "file":
                body["parameters"] = {"mode": kind, "text": text}
            case "slow" | "cancel":
                body["parameters"] = {"mode": "echo", "text": text, "seconds": seconds}
            case "read":
                body["parameters"] = {"mode": "read", "source": client.upload(text.encode())}
            case "resumable":
                data = text.encode() * 2000
                body["parameters"] = {"mode": "read", "source": client.upload_resumably(data)}
            case "video":
                source = client.upload(self._video)
                body["type"] = "video_transcoding"
                body["parameters"] = {"input_url": source, "output_format": "mp4", "codec": "h264"}
        answer = client.call("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": name})
        job_id = answer.json()["job_id"]
        self.accepted[job_id] = kind
        if kind == "cancel":
            client.call("DELETE", f"/v1/jobs/{job_id}", expected=frozenset({409}))


class _Client:
    """Repeats every request until it has a final response."""

    def __init__(self, http: httpx.Client, ending: threading.Event) -> None:
        self._http = http
        self._ending = ending

    def call(
        self,
        method: str,
        path: str,
        *,
        expected: frozenset[int] = frozenset(),
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Return the first final response. Raises `HTTPStatusError` for an unexpected refusal."""
        while not self._ending.is_set():
            try:
                answer = self._http.request(method, path, headers=headers, **options)
            except httpx.HTTPError:
                time.sleep(PAUSE_SECONDS)
                continue
            if answer.is_success or answer.status_code in expected:
                return answer
            if answer.is_client_error and answer.status_code not in _RETRYABLE:
                answer.raise_for_status()
            time.sleep(PAUSE_SECONDS)
        raise GivenUp

    def upload(self, data: bytes) -> str:
        """Store a file. Returns the reference to it."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = self.call("POST", "/v1/artifacts", content=data, headers=headers)
        return f"artifact:{answer.json()['artifact_id']}"

    def upload_resumably(self, data: bytes) -> str:
        """Store a file in two parts with tus. Returns the reference to it."""
        headers = {**TUS, "Upload-Length": str(len(data))}
        path = f"/v1/uploads/{self.call('POST', '/v1/uploads', headers=headers).json()['upload_id']}"
        while True:
            at = self.call("HEAD", path, headers=TUS)
            if (artifact := at.headers.get("upload-artifact-id")) is not None:
                return f"artifact:{artifact}"
            offset = int(at.headers["upload-offset"])
            part = data[offset : offset + len(data) // 2 + 1]
            part_headers = {
                **TUS,
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            }
            self.call("PATCH", path, content=part, headers=part_headers, expected=frozenset({409, 423}))
