"""The parts of a miner, which its daemon runs and its reports describe."""

from __future__ import annotations

from dataclasses import dataclass

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
