"""The parts of a miner, and its report about them: to its coordinator with every heartbeat, and to its owner on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.market.reductions import LOWEST_SHARE
from agent.miner.commands import Commands
from agent.miner.energy.account import EnergyAccount
from agent.miner.energy.power_limits import PowerLimits
from agent.miner.executor.availability import UnavailableModels
from agent.miner.executor.contract import Executor
from agent.miner.link.client import CoordinatorLink
from agent.miner.live_settings import LiveSettings
from agent.miner.machine.capabilities import Capabilities
from agent.miner.machine.disk_limit import DiskLimit
from agent.miner.machine.gpus import GpuReadings
from agent.miner.machine.selftest_report import LatestSelftest
from agent.miner.models.automatic import AutomaticModels
from agent.miner.models.provider import Models
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.outbox import Outbox
from agent.miner.runs.slots import Workload
from agent.miner.sealing.sealed_jobs import SealedJobs
from agent.miner.session import Session
from agent.miner.status.earnings import Earnings
from agent.miner.status.utilization import SlotActivity
from agent.miner.traffic import Traffic
from agent.protocol.answers import LeaseAnswer


@dataclass(frozen=True, slots=True)
class MinerParts:
    """What a miner consists of, apart from what reports about it. `capabilities` are those that were probed when it was built."""

    session: Session
    capabilities: Capabilities
    settings: LiveSettings
    gpus: GpuReadings
    link: CoordinatorLink
    outbox: Outbox
    executor: Executor
    provider: Models
    unavailable: UnavailableModels
    automatic_models: AutomaticModels
    pauses: Pauses
    workload: Workload
    sealed_jobs: SealedJobs
    activity_log: SlotActivity
    earnings: Earnings
    energy: EnergyAccount
    power_limits: PowerLimits
    traffic: Traffic
    disk_limit: DiskLimit
    selftest: LatestSelftest


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Collects the state of the daemon's parts, for heartbeats and for the status. No method blocks."""

    parts: MinerParts
    commands: Commands

    def capabilities(self) -> dict[str, Any]:
        """Return the machine's capabilities, with the current models, prices and settings, and the services that pause."""
        offers = self.parts.capabilities.with_models(
            self.parts.provider.present, self.parts.executor.loaded(), self.unavailable_models()
        )
        wire = offers.to_wire()
        wire["settings"] = self.parts.settings.to_wire()
        wire["encryption_keys"] = self.parts.sealed_jobs.published(self.parts.session.origin)
        wire["selftest"] = self.parts.selftest.to_wire()
        for service, offer in wire["services"].items():
            offer["unit_price"] = self.parts.settings.price(service)
            offer["features"][LOWEST_SHARE] = self.parts.settings.lowest_share(service)
        for service, reason in self._paused_services().items():
            wire["services"][service]["paused"] = reason
        return wire

    def unavailable_models(self) -> dict[str, dict[str, str]]:
        """Return the models that are unavailable at present, by service, with reasons."""
        reasons: dict[str, dict[str, str]] = {}
        parts = self.parts
        for by_service in (
            parts.unavailable.now,
            parts.provider.fetching_for_jobs,
            parts.energy.unprofitable_models(),
        ):
            for service, by_model in by_service.items():
                reasons.setdefault(service, {}).update(by_model)
        return reasons

    def _paused_services(self) -> dict[str, str]:
        unprofitable = {
            service: reason
            for service, reason in self.parts.energy.unprofitable_services().items()
            if service in self.parts.capabilities.services
        }
        return {**unprofitable, **self.parts.workload.paused_services()}

    def paused(self, gpu: str | None) -> str | None:
        """Return why a GPU, or with None the whole miner, accepts no jobs."""
        return self.parts.workload.pause_reason() if gpu is None else self.parts.pauses.gpu_reason(gpu)

    def activity(self) -> dict[str, Any]:
        """Return how the last hour was spent, what is being fetched, and what the machine consumes unless that is its owner's secret."""
        energy = self.parts.energy.report(own_coordinator=self.parts.settings.own_coordinator)
        return {**self._activity(), **({} if energy is None else {"energy": energy})}

    def _activity(self) -> dict[str, Any]:
        return {"idle": self.parts.activity_log.shares(), "downloads": self.parts.provider.arriving}

    def answered(
        self, leases: Sequence[LeaseAnswer], commands: Sequence[Any], reported: Sequence[str]
    ) -> None:
        """Handle the answer to a heartbeat."""
        self.parts.workload.answered(leases)
        self.commands.reported(reported)
        self.commands.execute(commands)

    def status(self) -> dict[str, Any]:
        """Return the status that `aitbc-agent status` shows."""
        return {
            "connection": self.parts.link.connection,
            "silent_since": self.parts.link.silent_since,
            "refusal": self.parts.link.refusal,
            "version_advice": self.parts.link.version_advice,
            "malformed_leases": self.parts.workload.malformed(),
            "paused": self.parts.workload.pause_reason(),
            "pauses": self.parts.pauses.status(),
            "slots": {"total": self.parts.capabilities.slots, "free": self.parts.workload.free_slots()},
            "gpus": [
                {
                    **gpu.to_wire(),
                    **gpu.telemetry(),
                    "number": gpu.number,
                    "paused": self.parts.pauses.gpu_reason(gpu.uuid),
                }
                for gpu in self.parts.gpus.last
            ],
            "gpu_reason": self.parts.capabilities.gpu_reason,
            "selftest": self.parts.selftest.to_wire(),
            "sandbox": self.parts.capabilities.sandbox,
            "services": sorted(self.parts.capabilities.services),
            "unavailable": {
                service: list(reasons) for service, reasons in self.parts.capabilities.unavailable.items()
            },
            "engine_obstacles": {
                service: list(reasons) for service, reasons in self.parts.capabilities.obstacles.items()
            },
            "paused_services": self._paused_services(),
            "unavailable_models": self.unavailable_models(),
            "placement": self.parts.executor.placement(),
            "leases": self.parts.workload.status(),
            "finished": self.parts.workload.finished(),
            "outbox": len(self.parts.outbox),
            "children": self.parts.executor.status(),
            "now": {str(use): slots for use, slots in self.parts.activity_log.now().items()},
            **self._activity(),
            "earned_today": self.parts.earnings.to_status(),
            "outlook": None
            if self.parts.earnings.outlook is None
            else self.parts.earnings.outlook.model_dump(),
            "energy": self.parts.energy.status(),
            "power_limits": self.parts.power_limits.status(),
            "traffic": self.parts.traffic.status(),
            "disk": self.parts.disk_limit.status(),
            "model_choice": self.parts.automatic_models.status(),
        }
