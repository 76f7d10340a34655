"""The heartbeat that keeps all leases of this miner alive.

It runs in a task of its own and calls neither runners nor drivers, so that a machine that is busy, or whose GPU hangs,
still keeps its leases and receives cancellations.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from agent.core.liveness import Liveness
from agent.deadline import call_within
from agent.miner.backoff import sleep
from agent.miner.link.refusals import Unreachable
from agent.miner.status.report import StatusReport
from agent.protocol.answers import LeaseAnswer
from agent.protocol.messages import MAX_LEASES
from agent.protocol.reading import read_each

_MAX_REASON: Final = 200
_GPU_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 60.0
"""How late a heartbeat may be before this task counts as hung."""
_LONGEST_CALL_SECONDS: Final = 30.0
_OK: Final = 200
_log = structlog.get_logger(__name__)


class HeartbeatSender:
    """The daemon runs `run` and `watch_gpus`. A set `due` sends a heartbeat immediately; `liveness` records each.

    `interval` is in seconds.
    """

    def __init__(self, report: StatusReport, due: asyncio.Event, liveness: Liveness) -> None:
        self.interval = 15.0
        self._report = report
        self._due = due
        self._liveness = liveness
        self._link = report.parts.link
        self._telemetry: list[dict[str, Any]] = []
        self._known: dict[str, Any] | None = None

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            # Before the content is read: what happens while it is sent makes another heartbeat due.
            self._due.clear()
            silence = self.interval + _LONGEST_CALL_SECONDS + _LATE_SECONDS
            self._liveness.report("heartbeat", asyncio.get_running_loop().time(), silence)
            try:
                await self._beat()
                delay = self.interval
            except Unreachable as error:
                if self._link.refusal is None:
                    _log.info("heartbeat_failed", error=str(error))
                # Sooner than usual, or one lost message would bring the leases near their end.
                delay = self.interval / 3
            await sleep(delay, self._due)

    async def _beat(self) -> None:
        report = self._report
        capabilities = report.capabilities()
        changed = capabilities != self._known
        executed = report.commands.executed()
        paused = report.paused(None)
        body = {
            "leases": report.parts.workload.states()[:MAX_LEASES],
            "gpus": [{**gpu, "paused": report.paused(gpu["uuid"])} for gpu in self._telemetry],
            # They are large, and change when models come and go.
            "capabilities": capabilities if changed else None,
            "paused": None if paused is None else paused[:_MAX_REASON],
            "activity": report.activity(),
            "executed": executed,
            "refused": report.commands.refused(),
        }
        status, answer = await self._link.call(
            "heartbeat", None, body, limit=min(self.interval, _LONGEST_CALL_SECONDS)
        )
        if status != _OK or not isinstance(answer, dict):
            _log.warning("heartbeat_refused", status=status)
            return
        # Only once they have arrived; after a failure they are sent again.
        if changed:
            self._known = capabilities
        commands = answer.get("commands")
        report.answered(
            read_each(LeaseAnswer, answer.get("leases")),
            commands if isinstance(commands, list) else (),
            executed,
        )

    async def watch_gpus(self) -> None:
        """Read the GPUs once per interval until cancelled."""
        while True:
            try:
                # A broken driver may never return. The heartbeat must not wait for it, so it is read in a task of its own.
                cards = await call_within(
                    _GPU_SECONDS, self._report.parts.gpus.snapshot, name="gpus-telemetry"
                )
                self._telemetry = [card.telemetry() for card in cards]
            except TimeoutError:
                _log.warning("gpus_not_responding")
                self._telemetry = []
            await asyncio.sleep(self.interval)
