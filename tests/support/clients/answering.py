"""A scripted miner that answers all jobs for vectors, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.clients.openai_jobs import EMBEDDING
from support.clients.scripted_miner import ScriptedMiner, capabilities

JOIN_SECONDS = 60


class AnsweringMiner:
    """Completes every job with a vector for each text, until `end`. `features` are those of the service."""

    def __init__(self, url: str, **features: Any) -> None:
        self.miner = ScriptedMiner(url)
        self.leases: list[dict[str, Any]] = []
        self._ends = threading.Event()
        offered = capabilities()
        offered["services"]["text_embedding"] |= {"models": [EMBEDDING], "features": features}
        assert self.miner.register(capabilities=offered).status_code == 200
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    @property
    def texts(self) -> list[str]:
        """The texts of all jobs, in the order in which they came."""
        return [text for lease in self.leases for text in lease["spec"]["parameters"]["input"]]

    def _answer(self) -> None:
        while not self._ends.is_set():
            for lease in self.miner.poll(slots=4, wait=1):
                self.leases.append(lease)
                texts = lease["spec"]["parameters"]["input"]
                usage = {"prompt_tokens": 3, "total_tokens": 3}
                results = {"embeddings": [[0.6, 0.8] for _ in texts], "usage": usage}
                self.miner.complete(lease, {**results, "units": 3, "processing_time": 0.1})

    def end(self) -> None:
        """Take no further job."""
        self._ends.set()
        self._thread.join(JOIN_SECONDS)


@contextmanager
def answering(url: str, **features: Any) -> Iterator[AnsweringMiner]:
    """Run such a miner."""
    miner = AnsweringMiner(url, **features)
    try:
        yield miner
    finally:
        miner.end()
