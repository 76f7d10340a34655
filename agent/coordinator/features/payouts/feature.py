"""Payouts: what miners have earned leaves the ledger, in batches that an administrator approves."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Opening
from agent.coordinator.features.payouts import consistency, metrics, miners
from agent.coordinator.features.payouts.adapter import Site
from agent.coordinator.features.payouts.adapters.installed import open_adapters
from agent.coordinator.features.payouts.routes import deposits, payouts, reports
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.hooks import Hooks
from agent.sections import section_of


def _open(opening: Opening) -> PayoutWorker:
    settings = section_of(opening.settings, PayoutSettings)
    adapters = open_adapters(Site(settings, opening.directory, opening.signer.origin))
    worker = PayoutWorker(opening.database, settings, adapters, opening.clock)
    worker.connect(opening.bus)
    return worker


FEATURE: Final = Feature(
    name="payouts",
    routers=(payouts.router, deposits.router, reports.router),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    examine=consistency.examine,
    part=PayoutWorker,
    open=_open,
    hooks=Hooks(miner_money=miners.miner_money),
)
