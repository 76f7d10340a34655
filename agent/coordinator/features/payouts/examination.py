"""Checks the payout adapters of the settings, for `aitbc-agent doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from agent.coordinator.features.payouts.adapter import Adapter, Examinable, Site
from agent.coordinator.features.payouts.adapters.installed import open_adapters

SECONDS: Final = 15.0


def examine_adapters(site: Site) -> Mapping[str, str | None]:
    """Return for each adapter in `payouts.adapters` why it cannot pay, or None. Pays nothing."""
    opened = open_adapters(site)
    found: dict[str, str | None] = dict(opened.faults)
    return found | {name: asyncio.run(_fault(adapter)) for name, adapter in opened.usable.items()}


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
