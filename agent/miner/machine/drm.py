"""Graphics cards of other makers than NVIDIA, as the kernel describes them in sysfs.

amdgpu reports memory, load, temperature and power there. Intel's drivers report little, and no driver the names of its cards: both come from
the engine that uses them (`vulkan_cards`). Everything read here may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSFS: Final = Path("/sys/class/drm")
PROCESSES: Final = Path("/proc")
MAKERS: Final = {"0x1002": "AMD", "0x8086": "Intel"}
"""Makers of cards by PCI vendor. NVIDIA's are read from NVML."""

_CARD: Final = re.compile(r"card\d+")
_MEMORY: Final = re.compile(r"^drm-(?:total|memory)-vram\d*:\s*(\d+) KiB$", re.MULTILINE)
_ADDRESS: Final = re.compile(r"^drm-pdev:\s*(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DrmCard:
    """A card at one moment: memory in bytes, `utilization` in percent, `temperature` in degrees Celsius, power in watts; None if unknown."""

    bus: str
    maker: str
    driver: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None


def read_cards(root: Path = SYSFS) -> list[DrmCard]:
    """Return the cards in the order of their numbers. Blocking, but quick."""
    with suppress(OSError):
        cards = sorted(
            (path for path in root.iterdir() if _CARD.fullmatch(path.name)),
            key=lambda path: int(path.name.removeprefix("card")),
        )
        return [card for path in cards if (card := _read(path / "device")) is not None]
    return []


def _read(device: Path) -> DrmCard | None:
    maker = MAKERS.get(_text(device / "vendor") or "")
    if maker is None:
        return None
    sensors = next(iter(sorted((device / "hwmon").glob("hwmon*"))), device / "hwmon")
    milli = _number(sensors / "temp1_input")
    micro = _number(sensors / "power1_average") or _number(sensors / "power1_input")
    limit = _number(sensors / "power1_cap")
    return DrmCard(
        bus=device.resolve().name,
        maker=maker,
        driver=(device / "driver").resolve().name if (device / "driver").exists() else "",
        memory_total=_number(device / "mem_info_vram_total"),
        memory_used=_number(device / "mem_info_vram_used"),
        utilization=_number(device / "gpu_busy_percent"),
        temperature=None if milli is None else milli // 1000,
        power=None if micro is None else micro / 1_000_000,
        power_limit=None if limit is None else limit / 1_000_000,
    )


def memory_by_process(root: Path = PROCESSES) -> dict[str, dict[int, int]]:
    """Return the bytes of each card's memory that processes use, by PCI address and process id, of those that this user may read. Blocking.

    The kernel lists a process's use once for each of its open files of the card, with one number for each client of the driver.
    """
    found: dict[str, dict[int, int]] = {}
    for process in root.iterdir():
        if process.name.isdecimal():
            for bus, client_bytes in _clients(process / "fdinfo"):
                of_card = found.setdefault(bus, {})
                of_card[int(process.name)] = of_card.get(int(process.name), 0) + client_bytes
    return found


def _clients(directory: Path) -> Iterator[tuple[str, int]]:
    clients: dict[str, tuple[str, int]] = {}
    with suppress(OSError):
        for path in directory.iterdir():
            with suppress(OSError, ValueError):
                text = path.read_text(encoding="ascii")
                if (address := _ADDRESS.search(text)) is None:
                    continue
                sizes = [int(size) * 1024 for size in _MEMORY.findall(text)]
                number = next(
                    (line for line in text.splitlines() if line.startswith("drm-client-id:")), path.name
                )
                clients[number] = address[1].lower(), max(sizes, default=0)
    yield from clients.values()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdecimal() else None
