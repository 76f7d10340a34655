"""The one heartbeat that keeps all leases of this miner alive.

It runs in a task of its own and touches neither runners nor drivers, so that a machine that is busy, or whose GPU
hangs, still keeps its leases and hears of cancellations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from agent.core.liveness import Liveness
from agent.deadline import call_within
from agent.miner.link.client import Link
from agent.miner.link.errors import Unreachable
from agent.miner.machine.gpus import Gpus

MAX_LEASES: Final = 256
"""How many leases one heartbeat may name."""
_MAX_REASON: Final = 200
_GPU_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 60.0
"""How much later than planned a heartbeat may be sent before this task counts as hung."""
_LONGEST_CALL_SECONDS: Final = 30.0
_OK: Final = 200
_log = structlog.get_logger(__name__)


class News(Protocol):
    """What a heartbeat tells, and to whom its answer matters. Nothing here may block."""

    def states(self) -> Sequence[Mapping[str, Any]]:
        """All leases with their progress."""

    def capabilities(self) -> dict[str, Any]:
        """What the machine can do; sent when it has changed."""

    def paused(self, gpu: str | None) -> str | None:
        """Why a GPU, or with None the whole miner, takes nothing."""

    def activity(self) -> dict[str, Any]:
        """Where the last hour went, and what is being fetched."""

    def executed(self) -> list[str]:
        """The ids of commands that were executed."""

    def answered(
        self, leases: Sequence[Mapping[str, Any]], commands: Sequence[Any], told: Sequence[str]
    ) -> None:
        """What the coordinator says of each lease, and wants done. It knows now that the commands `told` were executed."""


class Heartbeat:
    """`run` and `watch_gpus` are the daemon's to run. `liveness` hears of every heartbeat."""

    def __init__(self, link: Link, gpus: Gpus, news: News, liveness: Liveness | None = None) -> None:
        self.interval = 15.0
        self._liveness = liveness or Liveness()
        self._link = link
        self._gpus = gpus
        self._news = news
        self._telemetry: list[dict[str, Any]] = []
        self._known: dict[str, Any] | None = None
        self._now = asyncio.Event()

    def soon(self) -> None:
        """Send one now, besides the regular ones."""
        self._now.set()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            self._now.clear()
            due = self.interval + _LONGEST_CALL_SECONDS + _LATE_SECONDS
            self._liveness.report("heartbeat", asyncio.get_running_loop().time(), due)
            try:
                await self._beat()
                delay = self.interval
            except Unreachable as error:
                _log.info("heartbeat_failed", error=str(error))
                delay = self.interval / 3
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._now.wait()

    async def _beat(self) -> None:
        news = self._news
        capabilities = news.capabilities()
        changed = capabilities != self._known
        executed = news.executed()
        paused = news.paused(None)
        body = {
            "leases": list(news.states())[:MAX_LEASES],
            "gpus": [{**gpu, "paused": news.paused(gpu["uuid"])} for gpu in self._telemetry],
            "capabilities": capabilities if changed else None,
            "paused": None if paused is None else paused[:_MAX_REASON],
            "activity": news.activity(),
            "executed": executed,
        }
        status, answer = await self._link.call(
            "heartbeat", None, body, limit=min(self.interval, _LONGEST_CALL_SECONDS)
        )
        if status != _OK or not isinstance(answer, dict):
            _log.warning("heartbeat_refused", status=status)
            return
        if changed:
            self._known = capabilities
        commands = answer.get("commands")
        news.answered(answer.get("leases", ()), commands if isinstance(commands, list) else (), executed)

    async def watch_gpus(self) -> None:
        """Read the GPUs once per interval until cancelled."""
        while True:
            try:
                cards = await call_within(_GPU_SECONDS, self._gpus.snapshot, name="gpus-telemetry")
                self._telemetry = [card.telemetry() for card in cards]
            except TimeoutError:
                _log.warning("gpus_not_responding")
                self._telemetry = []
            await asyncio.sleep(self.interval)
