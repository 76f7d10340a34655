"""The miner's report: to its coordinator with every heartbeat, and to its owner on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.market.reductions import LOWEST_SHARE
from agent.miner.commands import Commands
from agent.miner.energy.account import EnergyAccount
from agent.miner.energy.power_limits import PowerLimits
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
from agent.miner.status.earnings import Earnings
from agent.miner.status.utilization import SlotActivity
from agent.miner.traffic import Traffic
from agent.protocol.answers import LeaseAnswer


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Collects the state of the daemon's parts, for heartbeats and for the status.

    `unavailable_models` returns the models that are unavailable at present, by service, with reasons.
    """

    link: CoordinatorLink
    outbox: Outbox
    gpus: GpuReadings
    executor: Executor
    provider: Models
    pauses: Pauses
    workload: Workload
    commands: Commands
    activity_log: SlotActivity
    earnings: Earnings
    energy: EnergyAccount
    power_limits: PowerLimits
    traffic: Traffic
    disk_limit: DiskLimit
    automatic_models: AutomaticModels
    offers: Capabilities
    settings: LiveSettings
    encryption_keys: Callable[[], list[dict[str, Any]]]
    selftest: LatestSelftest
    unavailable_models: Callable[[], Mapping[str, Mapping[str, str]]]

    def states(self) -> Sequence[Mapping[str, Any]]:
        """Return all leases with their progress."""
        return self.workload.states()

    def capabilities(self) -> dict[str, Any]:
        """Return the machine's capabilities, with the current models, prices and settings, and the services that pause."""
        offers = self.offers.with_models(
            self.provider.present, self.executor.loaded(), self.unavailable_models()
        )
        wire = offers.to_wire()
        wire["settings"] = self.settings.to_wire()
        wire["encryption_keys"] = self.encryption_keys()
        wire["selftest"] = self.selftest.to_wire()
        for service, offer in wire["services"].items():
            offer["unit_price"] = self.settings.price(service)
            offer["features"][LOWEST_SHARE] = self.settings.lowest_share(service)
        for service, reason in self._paused_services().items():
            wire["services"][service]["paused"] = reason
        return wire

    def _paused_services(self) -> dict[str, str]:
        unprofitable = {
            service: reason
            for service, reason in self.energy.unprofitable_services().items()
            if service in self.offers.services
        }
        return {**unprofitable, **self.workload.paused_services()}

    def paused(self, gpu: str | None) -> str | None:
        """Return why a GPU, or with None the whole miner, accepts no jobs."""
        return self.workload.pause_reason() if gpu is None else self.pauses.gpu_reason(gpu)

    def activity(self) -> dict[str, Any]:
        """Return how the last hour was spent, what is being fetched, and what the machine consumes unless that is its owner's secret."""
        energy = self.energy.report(own_coordinator=self.settings.own_coordinator)
        return {**self._activity(), **({} if energy is None else {"energy": energy})}

    def _activity(self) -> dict[str, Any]:
        return {"idle": self.activity_log.shares(), "downloads": self.provider.arriving}

    def executed(self) -> list[str]:
        """Return the ids of commands that were executed."""
        return self.commands.executed()

    def refused(self) -> list[dict[str, Any]]:
        """Return those of them that were refused, with the reasons."""
        return self.commands.refused()

    def answered(
        self, leases: Sequence[LeaseAnswer], commands: Sequence[Any], reported: Sequence[str]
    ) -> None:
        """Handle the answer to a heartbeat."""
        self.workload.answered(leases)
        self.commands.reported(reported)
        self.commands.execute(commands)

    def status(self) -> dict[str, Any]:
        """Return the status that `aitbc-agent status` shows."""
        return {
            "connection": self.link.connection,
            "silent_since": self.link.silent_since,
            "refusal": self.link.refusal,
            "version_advice": self.link.version_advice,
            "malformed_leases": self.workload.malformed(),
            "paused": self.workload.pause_reason(),
            "pauses": self.pauses.status(),
            "slots": {"total": self.offers.slots, "free": self.workload.free_slots()},
            "gpus": [
                {
                    **gpu.to_wire(),
                    **gpu.telemetry(),
                    "number": gpu.number,
                    "paused": self.pauses.gpu_reason(gpu.uuid),
                }
                for gpu in self.gpus.last
            ],
            "gpu_reason": self.offers.gpu_reason,
            "selftest": self.selftest.to_wire(),
            "sandbox": self.offers.sandbox,
            "services": sorted(self.offers.services),
            "unavailable": {service: list(reasons) for service, reasons in self.offers.unavailable.items()},
            "engine_obstacles": {
                service: list(reasons) for service, reasons in self.offers.obstacles.items()
            },
            "paused_services": self._paused_services(),
            "unavailable_models": {
                service: dict(reasons) for service, reasons in self.unavailable_models().items()
            },
            "placement": self.executor.placement(),
            "leases": self.workload.status(),
            "finished": self.workload.finished(),
            "outbox": len(self.outbox),
            "children": self.executor.status(),
            "now": {str(use): slots for use, slots in self.activity_log.now().items()},
            **self._activity(),
            "earned_today": self.earnings.to_status(),
            "outlook": None if self.earnings.outlook is None else self.earnings.outlook.model_dump(),
            "energy": self.energy.status(),
            "power_limits": self.power_limits.status(),
            "traffic": self.traffic.status(),
            "disk": self.disk_limit.status(),
            "model_choice": self.automatic_models.status(),
        }
