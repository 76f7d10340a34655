"""The sealed requests that this miner has run, so that a request that is submitted again as another job is not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from agent.atomic_file import replace_file

FILE: Final = "sealed_requests"
_FIELDS: Final = 3
_log = structlog.get_logger(__name__)


class RequestLog:
    """A file with a line for each request: its id, the job that it belongs to, and the time in seconds since the epoch.

    Entries older than `seconds`, the longest life of a key, are dropped when the file is opened.
    """

    def __init__(self, directory: Path, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._path = directory / FILE
        self._clock = clock
        self._jobs: dict[str, str] = {}
        self._load(clock() - seconds)

    def claim(self, request_id: str, job_id: str) -> bool:
        """Record that a job runs a request. Return False if another job does. Blocking: returns when it is on disk."""
        opened_job = self._jobs.get(request_id)
        if opened_job is not None:
            return opened_job == job_id
        self._jobs[request_id] = job_id
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{request_id} {job_id} {int(self._clock())}\n".encode())
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def _load(self, since: float) -> None:
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except FileNotFoundError:
            return
        recent = []
        for line in lines:
            fields = line.split(" ")
            if len(fields) == _FIELDS and fields[2].isdecimal() and int(fields[2]) >= since:
                self._jobs[fields[0]] = fields[1]
                recent.append(line)
        if len(recent) != len(lines):
            replace_file(self._path, "".join(f"{line}\n" for line in recent).encode())
            _log.info("sealed_requests_dropped", count=len(lines) - len(recent))
