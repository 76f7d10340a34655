"""The cards of AMD and Intel that llama.cpp can use with Vulkan, with the kernel's figures where it has some.

Only what the engine lists counts as a card: no other engine uses them, and the owner learns what is missing for those that it does not list.
Cards that share the machine's memory are left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import structlog

from agent.child_environment import inherited
from agent.miner.machine.drm import DrmCard, memory_by_process, read_cards
from runners.api import TimedOut
from runners.engine_server.llama import list_devices

LIST_SECONDS: Final = 60.0
"""Time limit for the engine's list of devices. It starts a Python and the cards' drivers."""

FRESH: Final = 5
"""How many times as long as it took a list is valid for cards whose free memory only the engine knows, and at least a second."""

_SOFTWARE: Final = ("llvmpipe", "SwiftShader")
"""The beginnings of the names of devices that are programs."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VulkanCard:
    """A card. Memory is in bytes; `drm` has the kernel's figures, None for a device that is no card."""

    uuid: str
    name: str
    bus: str | None
    memory_total: int
    memory_free: int
    drm: DrmCard | None


@dataclass(eq=False)
class VulkanCards:
    """`pythons` returns the interpreters that have llama.cpp, the one that is asked first. With `software`, devices that are programs count.

    Blocking; errors are not raised. `reason` states why a card of this machine is not among those that were `read`.
    """

    pythons: Callable[[], Sequence[str]] = tuple
    _: KW_ONLY
    software: bool = False
    cards: Callable[[], Sequence[DrmCard]] = read_cards

    def __post_init__(self) -> None:
        self._listed: list[dict[str, Any]] = []
        self._listed_for: tuple[str, ...] | None = None
        self._listed_until = float("-inf")
        self._lock = threading.Lock()
        self.reason: str | None = None

    @property
    def seconds(self) -> float:
        """How long `read` may take."""
        return LIST_SECONDS if self.software or self.cards() else 0.0

    def read(self) -> list[VulkanCard]:
        """Return the cards as they are now."""
        cards = {card.bus: card for card in self.cards()}
        self.reason = None
        if not cards and not self.software:
            return []
        pythons = tuple(self.pythons())
        lasts = all(card.memory_used is not None for card in cards.values()) and not self.software
        # One list at a time: a second thread goes on with the last one.
        if self._lock.acquire(blocking=self._listed_for is None):
            try:
                began = time.monotonic()
                if pythons != self._listed_for or not (lasts or began < self._listed_until):
                    self._listed = _listed(pythons, self._listed)
                    self._listed_for, ended = pythons, time.monotonic()
                    self._listed_until = ended + max(1.0, FRESH * (ended - began))
            finally:
                self._lock.release()
        usable = [card for device in self._listed if (card := self._card(device, cards)) is not None]
        missing = [
            card for bus, card in cards.items() if not any(item["bus"] == bus for item in self._listed)
        ]
        if missing:
            self.reason = (
                f"llama.cpp does not find the card of {missing[0].maker} at {missing[0].bus}. Install its build for GPUs (aitbc-agent engines "
                "install llama.cpp) and the Vulkan driver (Debian: apt-get install mesa-vulkan-drivers), and let the agent's user open "
                "/dev/dri/renderD* (often the group `render`)."
            )
        return usable

    def memory_by_process(self) -> dict[str, dict[int, int]]:
        """Return the bytes of each card's memory that processes use, by its UUID and the process's id."""
        return (
            {_uuid(bus): processes for bus, processes in memory_by_process().items()} if self.cards() else {}
        )

    def _card(self, device: dict[str, Any], cards: dict[str, DrmCard]) -> VulkanCard | None:
        name, bus = device["description"], device["bus"]
        is_software = bus is None and name.startswith(_SOFTWARE)
        drm = cards.get(bus)
        # Those of NVIDIA are NVML's.
        if not (self.software if is_software else drm is not None and device["type"] == "gpu"):
            return None
        total, free = device["total"], device["free"]
        if drm is not None and drm.memory_total and drm.memory_used is not None:
            total, free = drm.memory_total, max(0, drm.memory_total - drm.memory_used)
        return VulkanCard(_uuid(bus or device["name"]), name, bus, total, free, drm)


def _uuid(bus: str) -> str:
    return f"PCI-{bus}"


def _listed(pythons: Sequence[str], otherwise: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the devices of the first interpreter that has some; those of `otherwise` if it took too long."""
    for python in pythons:
        try:
            devices = list_devices(python, inherited(), LIST_SECONDS)
        except TimedOut as error:
            _log.warning("vulkan_devices_not_listed", program=python, error=str(error))
            return otherwise
        if devices:
            return [{**device, "bus": device["bus"].lower() if device["bus"] else None} for device in devices]
    return []
