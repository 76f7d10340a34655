"""The checks of `gpu_check.py` that need neither an engine nor a sandbox."""

from __future__ import annotations

import sys

from agent.miner.machine.gpus import Gpu, Gpus
from gpu_check_report import CHECKS, Failed, Machine, Part


@CHECKS.add("nvml inventory", needs="card", part=Part.FACTS, seconds=2)
def _inventory(_machine: Machine) -> str:
    """Every card has a name, a UUID, memory and a compute capability, and responds."""
    found, reason = cards()
    if reason is not None:
        raise Failed(reason)
    for card in found:
        if (
            not card.uuid.startswith(("GPU-", "MIG-"))
            or card.memory_total <= 0
            or card.compute_capability is None
        ):
            raise Failed(f"the description of card {card.index} is incomplete: {card}")
    return "; ".join(
        f"{card.name}, {card.memory_total / 2**30:.1f} GiB, compute capability {card.compute_capability}, "
        f"driver {card.driver}"
        for card in found
    )


@CHECKS.add("nvml telemetry", needs="card", part=Part.FACTS, seconds=2)
def _telemetry(_machine: Machine) -> str:
    """Free memory, utilisation, temperature and power; laptops, virtual cards and slices do not report all of them."""
    return "; ".join(map(_readings, cards()[0]))


def _readings(card: Gpu) -> str:
    units = {"utilization": "% busy", "temperature": "C", "power": "W", "power_limit": "W at most"}
    readings = card.telemetry()
    reported = [f"{readings[name]:.0f} {unit}" for name, unit in units.items() if readings[name] is not None]
    silent = [name for name in units if readings[name] is None]
    described = f"{card.number}: {', '.join([f'{card.memory_free / 2**30:.1f} GiB free', *reported])}"
    return described + (f" (does not report {', '.join(silent)})" if silent else "")


@CHECKS.add("signatures beside it", needs="nothing", part=Part.FACTS, seconds=1)
def _signatures(_machine: Machine) -> str:
    """This process, in machine of the daemon, signs without importing an engine."""
    from nacl.signing import SigningKey  # noqa: PLC0415 - the check includes this import

    key = SigningKey.generate()
    key.verify_key.verify(key.sign(b"a statement"))
    engines = [name for name in ("torch", "ctranslate2", "diffusers", "vllm") if name in sys.modules]
    if engines:
        raise Failed(f"the daemon's modules import {', '.join(engines)}")
    return "PyNaCl signs and verifies; no engine is loaded here"


def cards() -> tuple[tuple[Gpu, ...], str | None]:
    """Return the cards of this machine, and why some are missing."""
    gpus = Gpus()
    try:
        return gpus.snapshot(), gpus.reason
    finally:
        gpus.close()
