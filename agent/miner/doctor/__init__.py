"""Checks this machine for problems that keep it from working, with a remedy for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from agent.deadline import call_within
from agent.miner.doctor import _engines, _files, _machine, _network
from agent.miner.doctor._machine import Cards
from agent.miner.doctor.diagnostics import Diagnostic, found
from agent.miner.machine.gpus import Gpus
from agent.settings import Settings

__all__ = ["examine"]

_CHECK_SECONDS: Final = 20.0
"""Time limit for one check. The slowest start Blender, or encode a first frame on a sleeping GPU."""
_PROBE_MARGIN: Final = 0.5

_Check = Callable[[Settings], list[Diagnostic]]


async def examine(settings: Settings) -> list[Diagnostic]:
    """Run all checks concurrently, each within a time limit, which takes a few seconds in total. Raises nothing."""
    gpus = Gpus()
    try:
        cards = Cards(await gpus.refresh(), gpus.reason)
    finally:
        gpus.close()
    blocking: dict[str, _Check] = {
        "python": lambda _: _machine.python(),
        "data_directory": _files.data_directory,
        "secrets": _files.secrets,
        "disk": _files.disk,
        "memory": _machine.memory,
        "descriptors": _machine.descriptors,
        "sqlite": _machine.sqlite,
        "sealing": _machine.sealing,
        "gpu": lambda _: _machine.gpus(cards),
        "torch": lambda _: _machine.torch(cards),
        "programs": _engines.programs,
        "nvenc": partial(_engines.nvenc, cards=cards),
        "blender": partial(_engines.blender, cards=cards),
        "sandbox": _engines.sandbox,
        "models": _engines.models,
        "engines": _engines.engines,
        "models_directory": _files.models_directory,
        "agent": _network.agent,
    }
    checks = [
        _guard(name, call_within(_CHECK_SECONDS, partial(check, settings), name=f"doctor-{name}"))
        for name, check in blocking.items()
    ]
    checks += [
        _guard("services", _engines.services(settings, _CHECK_SECONDS - _PROBE_MARGIN)),
        _guard("coordinator", _network.coordinator(settings)),
    ]
    return [diagnostic for diagnostics in await asyncio.gather(*checks) for diagnostic in diagnostics]


async def _guard(name: str, check: Awaitable[list[Diagnostic]]) -> list[Diagnostic]:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check
    except TimeoutError:
        return [found("check_slow", check=name, seconds=f"{_CHECK_SECONDS:g}")]
    except Exception as error:  # noqa: BLE001 - the other checks' diagnostics are useful nevertheless
        return [found("check_broken", check=name, error=f"{type(error).__name__}: {error}")]
