"""Checks this machine for problems that keep it from working, with a remedy for each. Those of features are in their `checks`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import Final

from agent.deadline import call_within
from agent.diagnostics import Diagnostic
from agent.miner.doctor import _engines, _files, _machine, _network, _wsl
from agent.miner.doctor._machine import Cards
from agent.miner.doctor.diagnostics import found
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.hardware import cpu_cores
from agent.miner.machine.installed_vulkan import vulkan_cards
from agent.settings import Settings

__all__ = ["Cards", "examine", "examine_cards", "examine_coordinator"]

_CHECK_SECONDS: Final = 20.0
"""Time limit for one check on an idle machine. The slowest start Blender, or encode a first frame on a sleeping GPU."""
_LONGEST_SECONDS: Final = 300.0
"""Time limit on a busy machine, where each program gets a share of the processors."""
_PROBE_MARGIN: Final = 3
"""How many times longer the check of all services may take than the probe of one."""

_Check = Callable[[Settings], list[Diagnostic]]


async def examine(settings: Settings) -> list[Diagnostic]:
    """Run all checks concurrently, each within a time limit, which takes a few seconds on an idle machine. Raises nothing."""
    contended = round(_CHECK_SECONDS * os.getloadavg()[0] / cpu_cores())
    limit = max(_CHECK_SECONDS, min(_LONGEST_SECONDS, contended))
    with closing(Gpus(others=vulkan_cards(settings))) as gpus:
        cards = Cards(await gpus.refresh(), gpus.reason)
    blocking: dict[str, _Check] = {
        "python": lambda _: _machine.python(),
        "data_directory": _files.data_directory,
        "secrets": _files.secrets,
        "disk": _files.disk,
        "memory": _machine.memory,
        "wsl": _wsl.wsl,
        "descriptors": _machine.descriptors,
        "sqlite": _machine.sqlite,
        "sealing": _machine.sealing,
        "selftest": _machine.selftest,
        "owner": _machine.owner,
        "gpu": lambda _: _machine.gpus(cards),
        "cuda": lambda _: _machine.cuda(cards),
        "torch": lambda _: _machine.torch(cards),
        "programs": _engines.programs,
        "nvenc": partial(_engines.nvenc, cards=cards),
        "blender": partial(_engines.blender, cards=cards),
        "sandbox": _engines.sandbox,
        "models": _engines.models,
        "engines": partial(_engines.engines, cards=cards),
        "loadable": _engines.loadable,
        "shared_memory": partial(_engines.shared_memory, cards=cards),
        "models_directory": _files.models_directory,
        "agent": _network.agent,
    }
    checks = [
        _guard(name, call_within(limit, partial(check, settings), name=f"doctor-{name}"), limit)
        for name, check in blocking.items()
    ]
    checks += [
        _guard("services", _engines.services(settings, limit), _PROBE_MARGIN * limit),
        _guard("coordinator", _network.coordinator(settings), limit),
    ]
    return [diagnostic for diagnostics in await asyncio.gather(*checks) for diagnostic in diagnostics]


def examine_cards(settings: Settings, cards: Cards) -> list[Diagnostic]:
    """Return what is known of the cards, their driver, and the engines that need it, without using them. Blocking."""
    return [*_machine.gpus(cards), *_machine.torch(cards), *_engines.engines(settings, cards)]


async def examine_coordinator(settings: Settings) -> list[Diagnostic]:
    """Check that the coordinator answers, is the right one, and would accept this miner. Raises nothing."""
    return await _guard("coordinator", _network.coordinator(settings), _CHECK_SECONDS)


async def _guard(name: str, check: Awaitable[list[Diagnostic]], seconds: float) -> list[Diagnostic]:
    try:
        async with asyncio.timeout(seconds):
            return await check
    except TimeoutError:
        return [found("check_slow", check=name, seconds=f"{seconds:g}")]
    except Exception as error:  # noqa: BLE001 - the other checks' diagnostics are useful nevertheless
        return [found("check_broken", check=name, error=f"{type(error).__name__}: {error}")]
