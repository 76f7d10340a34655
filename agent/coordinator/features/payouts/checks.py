"""What `aitbc-agent doctor` checks of payouts."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.payouts.adapter import Site
from agent.coordinator.features.payouts.examination import examine_adapters
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.diagnostics import Diagnostic, Kind, ok, problem
from agent.sections import section_of
from agent.settings import Settings

KINDS: Final = {
    "payouts_unusable": Kind(
        "fault",
        "The payout adapter {adapter} cannot pay. {fault}",
        "Correct that, or remove the adapter from payouts.adapters.",
    ),
}


def check(settings: Settings) -> list[Diagnostic]:
    """Check that the adapters can pay: their settings, keys, nodes and directories."""
    payouts = section_of(settings, PayoutSettings)
    # Examining an adapter may ask a bank or a node; nobody who has not configured payouts needs that.
    if payouts == PayoutSettings():
        return []
    site = Site(payouts, settings.data_dir / "coordinator", "")
    return [
        ok("payouts", f"The payout adapter {name} can be used.")
        if fault is None
        else problem(KINDS, "payouts_unusable", adapter=name, fault=fault)
        for name, fault in examine_adapters(site).items()
    ]
