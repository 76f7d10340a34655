"""What `aitbc-agent doctor` checks of payouts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from agent.coordinator.features.payouts.adapter import Adapter, Examinable, Site
from agent.coordinator.features.payouts.adapters.installed import open_adapters
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.diagnostics import Diagnostic, DiagnosticKind, ok, problem
from agent.sections import section_of
from agent.settings import Settings

SECONDS: Final = 15.0

KINDS: Final = {
    "payouts_unusable": DiagnosticKind(
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


def examine_adapters(site: Site) -> Mapping[str, str | None]:
    """Return for each adapter in `payouts.adapters` why it cannot pay, or None. Pays nothing."""
    opened = open_adapters(site)
    faults: dict[str, str | None] = dict(opened.faults)
    # One after the other, each in an event loop of its own: an adapter may keep connections that belong to the loop it was used in.
    return faults | {name: asyncio.run(_fault(adapter)) for name, adapter in opened.usable.items()}


async def _fault(adapter: Adapter) -> str | None:
    try:
        if isinstance(adapter, Examinable):
            async with asyncio.timeout(SECONDS):
                await adapter.examine()
    except TimeoutError:
        return f"It did not answer within {SECONDS:g} s."
    except Exception as error:  # noqa: BLE001 - an adapter may raise anything; its message is the diagnostic
        return f"{str(error) or type(error).__name__}."
    finally:
        await adapter.close()
    return None
