"""Small jobs, one after the other, while an agent is updated."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from aitbc import AITBCClient
from aitbc.errors import AITBCError
from support.agents import Agent

PROGRAM = "def predict(input):\n    return {'answer': 42}\n"
SECONDS = 300


class Load:
    """Submits jobs until it is left. A client waits while its coordinator restarts, as the SDK does for a minute."""

    def __init__(self, agent: Agent, directory: Path) -> None:
        self._program = directory / "answer.py"
        self._program.write_text(PROGRAM)
        self._key, self._url = agent.file["client_key"], agent.url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.completed = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(SECONDS)

    def wait_for(self, jobs: int) -> None:
        """Wait until so many more jobs have been completed."""
        wanted, end = self.completed + jobs, time.monotonic() + SECONDS
        while self.completed < wanted:
            assert time.monotonic() < end, self.failures
            assert not self.failures, self.failures
            time.sleep(0.1)

    def _run(self) -> None:
        with AITBCClient(api_key=self._key, base_url=self._url) as client:
            while not self._ending.is_set():
                try:
                    job_id = client.services.run(self._program).job_id
                except AITBCError:
                    # It was not accepted, so it is no job yet.
                    time.sleep(0.2)
                    continue
                self._follow(client, job_id)

    def _follow(self, client: AITBCClient, job_id: str) -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with suppress(AITBCError):
                job = client.jobs.wait(job_id, timeout=SECONDS)
                if job.status == "completed":
                    self.completed += 1
                else:
                    self.failures.append(f"{job_id} is {job.status}: {job}")
                return
            time.sleep(0.2)
        self.failures.append(f"{job_id} does not end")
