"""The devices of this machine as the placement needs them: their current memory, and the demand of models."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.core.feasibility import largest_together
from agent.miner.executor.footprints import LARGEST_SHARE, Footprints, MainMemory
from agent.miner.executor.loaded_model import card_key
from agent.miner.executor.placement import MAIN_MEMORY, Card, CardRules, PlacementDemand
from agent.miner.machine import hardware
from agent.miner.machine.gpus import Gpu
from runners.api import USUAL_KINDS, Device, DeviceKind

_PLENTY = 2**63

Measure = Callable[[], Awaitable[Sequence[Gpu]]]
ProcessMemory = Callable[[], Awaitable[Mapping[str, Mapping[int, int]]]]
"""Returns the bytes that each process uses on each GPU, by the GPU's UUID and the process's id."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices on which children run, all of one kind.

    `measure` reads the GPUs; without it their memory counts as free. `process_memory` reads the memory of their processes. `footprints` estimates the memory of models; without
    it, none is counted. `slots` children may work at the same time, and `reserve` bytes of each GPU stay free. `capacity`
    is how many runs of one model a child of a service computes at once, and `gpus` how many GPUs it can use together. `kinds` are those of devices that a service
    can use, unless they are the usual ones; what can use none of the `devices` runs on the `processor`, which a machine with GPUs has too.
    """

    devices: tuple[Device, ...]
    slots: int = 0
    reserve: int = 0
    footprints: Footprints | None = None
    measure: Measure | None = None
    process_memory: ProcessMemory | None = None
    capacity: Mapping[str, int] = field(default_factory=dict)
    gpus: Mapping[str, int] = field(default_factory=dict)
    processor: Device | None = None
    kinds: Mapping[str, Collection[DeviceKind]] = field(default_factory=dict)

    @property
    def have_gpus(self) -> bool:
        """Whether these are GPUs."""
        return self.devices[0].kind != "cpu"

    def of(self, service: str, kinds: Collection[DeviceKind] | None = None) -> tuple[Device, ...]:
        """Return the devices for a service, or for an engine of it that can use these kinds."""
        usable_kinds = self.kinds.get(service, USUAL_KINDS) if kinds is None else kinds
        usable = tuple(device for device in self.devices if device.kind in usable_kinds)
        if not usable and self.processor is not None:
            return (self.processor,)
        return usable or self.devices

    def rules(self, devices: Sequence[Device]) -> CardRules:
        """Return the placement rules for these devices."""
        per_card = -(-max(self.slots, 1) // len(devices))
        return CardRules(reserve=self.reserve if devices[0].kind != "cpu" else 0, per_card=per_card)

    def demand(
        self,
        service: str,
        model: str | None,
        parameters: Mapping[str, object] | None,
        gpus: int = 1,
        *,
        devices: Sequence[Device] | None = None,
    ) -> PlacementDemand:
        """Return the memory that a job needs on one of these devices, or of the service's, which asks for so many GPUs.

        Without `parameters`, the model's minimum.
        """
        if self.footprints is None:
            return PlacementDemand(service, model, 0, 0)
        device = (devices or self.of(service))[0]
        demand = self.footprints.demand(service, model, device, parameters, self.usable(service))
        if device.kind == "cpu":
            return demand
        memory = self.beside(service, model, parameters, device).most
        return replace(demand, cards=max(1, gpus), most=self.gpus.get(service, 1), memory=memory)

    def usable(self, service: str) -> int | None:
        """Return how much of the GPUs one model of a service can count on, in bytes; None if the cards' size is unknown."""
        devices = self.of(service)
        # A card is never quite free: the driver and a desktop use some of it.
        shares = [
            min(int(device.memory * LARGEST_SHARE), device.memory - self.reserve)
            for device in devices
            if device.memory
        ]
        return largest_together(shares, self.gpus.get(service, 1)) if shares else None

    def beside(
        self, service: str, model: str | None, parameters: Mapping[str, object] | None, device: Device
    ) -> MainMemory:
        """Return the main memory that a job needs beside a GPU's, nothing on a processor."""
        if self.footprints is None or device.kind == "cpu":
            return MainMemory()
        return self.footprints.main_memory(service, model, parameters)

    def learn_loading(self, service: str, model: str, device: Device, peak: int) -> None:
        """Record the most main memory that loading a model has taken, 0 if unknown."""
        # A machine either has GPUs or computes on its processor: the figure is of the one or of the other.
        if self.footprints is not None and peak and (device.kind == "cpu") != self.have_gpus:
            self.footprints.learn_loading(service, model, peak)

    def main_memory(self, demand: PlacementDemand | None = None) -> Card | None:
        """Return the machine's main memory as it is now, if a job with this demand needs some beside a GPU's, or for any job."""
        if not self.have_gpus or (demand is not None and demand.memory == 0):
            return None
        return Card(MAIN_MEMORY, "This machine", hardware.memory_total(), hardware.memory_available())

    def together(self, cards: Sequence[str]) -> Device:
        """Return one or several cards as one device."""
        devices = {
            card_key(device): device for device in (self.processor, *self.devices) if device is not None
        }
        first, *others = (devices[card] for card in cards)
        return first.together(others) if others else first

    async def sample(
        self, devices: Sequence[Device], demand: PlacementDemand | None = None
    ) -> tuple[list[Card], float]:
        """Return these devices' current memory and when it was read (monotonic seconds). A lost GPU is omitted.

        For a processor and a `demand` of 0 the memory is not read, which would take longer than the rest of the placement.
        """
        began = time.monotonic()
        if devices[0].kind == "cpu" and demand is not None and demand.need == 0:
            cards = [Card(card_key(device), "This machine", _PLENTY, _PLENTY) for device in devices]
            return cards, float("-inf")
        if devices[0].kind == "cpu":
            total, free = hardware.memory_total(), hardware.memory_available()
            return [Card(card_key(device), "This machine", total, free) for device in devices], began
        if self.measure is None:
            cards = [Card(card_key(device), device.name, device.memory, device.memory) for device in devices]
            return cards, began
        gpus = {gpu.uuid: gpu for gpu in await self.measure()}
        gpus_of_devices = [gpu for device in devices if (gpu := gpus.get(card_key(device))) is not None]
        return [
            Card(
                gpu.uuid,
                f"GPU {gpu.number}",
                gpu.memory_total,
                gpu.memory_free,
                alone=gpu.slice is not None,
                exclusive=gpu.exclusive,
            )
            for gpu in gpus_of_devices
        ], began
