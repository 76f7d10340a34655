"""One job of each service that this machine offers, with its speed: the benchmark's, without concurrent runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from agent.miner.executor.local import LocalExecutor
from agent.miner.machine.capabilities import Capabilities, ServiceOffer
from agent.miner.machine.scores import BenchScore
from agent.miner.machine.selftest_report import Check
from agent.miner.measuring.bench import Bench
from runners.api import Device, Retry

LARGEST_SHARE: Final = 2.0
"""How many even shares of the time that is left one service may take."""
_LATE: Final = "late"


class ServiceJobs(Bench):
    """Runs a job of each service on each of these `cards` (on the processor without any), until the monotonic time `until`.

    `directory` is locked by the caller, and has the scratch files and the marks of child processes. Other options are those of `Bench`.
    """

    def __init__(
        self, *args: Any, directory: Path, cards: Collection[str], until: float, **options: Any
    ) -> None:
        super().__init__(*args, seconds=0, **options)
        self._directory = directory
        self._cards = cards
        self._until = until
        self._left = 0
        self._device = ""
        self._worked: set[tuple[str, str]] = set()

    async def checks(self) -> list[Check]:
        """Run the jobs."""
        report = await self.measure()
        checks = [_passed(score, self._cards) for score in report.scores]
        late, others = [], []
        for skipped in report.skipped:
            if skipped.device is None:
                # A service that is not offered is no fault; `doctor` says why.
                others.append(f"{skipped.service} ({skipped.reason.rstrip('.')})")
            elif skipped.reason != _LATE:
                checks.append(_failed(skipped.service, skipped.device, skipped.reason))
            elif (skipped.service, skipped.device) in self._worked:
                checks.append(_unmeasured(skipped.service, skipped.device))
            else:
                late.append(skipped.service)
        if not checks:
            checks.append(
                Check(name="services", outcome="warning", message="No job was run.", remedy="See aitbc-agent doctor.")
            )  # fmt: skip
        if late:
            others.append(f"{', '.join(dict.fromkeys(late))} (no time; aitbc-agent bench has no limit)")
        if others:
            checks.append(
                Check(name="services", outcome="skipped", message=f"Without a job: {'; '.join(others)}.")
            )
        return checks

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        yield self._directory / "jobs"

    def _save(self, score: BenchScore) -> None:
        """Do not store it: it would replace a score of `bench`, which also finds the best number of concurrent runs."""

    @staticmethod
    def _levels(concurrency: int) -> list[int]:  # noqa: ARG004 - one job at a time, as many as the runner could do
        return [1]

    async def _measure_service(
        self, service: str, offer: ServiceOffer, devices: Sequence[Device], directory: Path
    ) -> None:
        chosen = [device for device in devices if device.uuid in self._cards or not self._cards]
        self._left -= 1
        await super()._measure_service(service, offer, chosen, directory)

    async def _probe(self) -> Capabilities:
        capabilities = await super()._probe()
        self._left = len(capabilities.services)
        return capabilities

    async def _measure_device(self, subject: Any, device: Device, directory: Path) -> BenchScore:
        self._device = device.name
        # A slow service leaves some time to the others.
        left = (self._until - time.monotonic()) * min(1.0, LARGEST_SHARE / (self._left + 1))
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await super()._measure_device(subject, device, directory)
        except TimeoutError:
            raise Retry(_LATE) from None

    async def _round(self, executor: LocalExecutor, subject: Any, number: int, directory: Path) -> Decimal:
        units = await super()._round(executor, subject, number, directory)
        self._worked.add((subject.service, self._device))
        return units


def _passed(score: BenchScore, cards: Collection[str]) -> Check:
    model = "" if score.model is None else f" with {score.model}"
    return Check(
        name=score.service,
        outcome="ok",
        message=f"A job of {score.service}{model} on {score.device_name}: {score.speed:.4g} {score.metric}.",
        # The report has no section for a card without NVML.
        card=score.device_uuid if score.device_uuid in cards else None,
        figures={score.service: score.speed},
    )


def _failed(service: str, device: str, reason: str) -> Check:
    return Check(
        name=service,
        outcome="fault",
        message=f"A job of {service} on {device} failed. {reason}",
        remedy="Look at the log of its engine in the data directory (miner/selftest/logs), and run aitbc-agent doctor.",
    )


def _unmeasured(service: str, device: str) -> Check:
    return Check(
        name=service, outcome="ok", message=f"A job of {service} on {device} succeeded; there was no time to measure its speed."
    )  # fmt: skip
