"""The GPUs of this machine, as the NVIDIA management library (NVML) reports them.

GPUs disappear, drivers are updated while programs run, and older libraries lack functions. None of this may end the
daemon: unreadable values are None, and `Gpus.reason` states what is wrong and what to do. Only this module and `gpu_health`
use NVML.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import psutil
import pynvml
import structlog

from agent.deadline import call_within
from agent.miner.machine import device_files
from agent.miner.machine.gpu_health import XidErrors, fault, slowed
from agent.miner.machine.gpu_health import optional as _optional
from agent.miner.machine.gpu_power import CardPower, read_power
from agent.miner.machine.vulkan_cards import VulkanCards
from runners.api import Device, DeviceKind

_LOCK_SECONDS: Final = 2.0
"""How long a caller waits for another thread's NVML calls, which take milliseconds unless the driver hangs."""

_REFRESH_SECONDS: Final = 5.0

_RECONNECT_SECONDS: Final = 10.0
"""The pause after a first new connection that did not bring a card back. It doubles up to `_LONGEST_PAUSE`."""

_LONGEST_PAUSE: Final = 600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one slice (MIG instance) of one, at one moment.

    Memory is in bytes, `utilization` in percent, `temperature` in degrees Celsius, `power` and the `power_limit` that the
    driver enforces in watts. `index` is NVML's, in the order of the PCI bus, and `slice` that of the instance on its card, whose
    temperature, power and faults are the whole card's. Values that a GPU does not report are None.
    `fault` is what makes its results doubtful, and the remedy; `slowed` means that the hardware protects it from heat or from a
    weak power supply. `by_index` is False for an instance whose number on its card is no number of a card of the same model.
    An `exclusive` GPU lets one process at a time compute. `device_files` are the names in /dev with which programs reach it and no other
    GPU; empty if unknown. `bus` is its PCI address ("0000:01:00.0"), and `kind` "vulkan" for a card of another maker than NVIDIA.
    """

    uuid: str
    index: int
    name: str
    memory_total: int
    memory_free: int
    compute_capability: str | None
    driver: str
    utilization: int | None
    temperature: int | None
    power: float | None
    power_limit: float | None = None
    fault: str | None = None
    slowed: bool = False
    slice: int | None = None
    by_index: bool = True
    exclusive: bool = False
    device_files: tuple[str, ...] = ()
    bus: str | None = None
    kind: DeviceKind = "cuda"

    @property
    def number(self) -> str:
        """Its index for people and in settings; of a slice both, as NVIDIA's programs write them ("0:1")."""
        return str(self.index) if self.slice is None else f"{self.index}:{self.slice}"

    def is_named(self, name: str) -> bool:
        """Return whether a name is its number, its card's index, its UUID or the beginning of it."""
        return name in (self.number, str(self.index)) or self.uuid.lower().startswith(name.lower())

    def to_wire(self) -> dict[str, Any]:
        """Return the GPU as a registration describes it."""
        names = ("uuid", "index", "name", "memory_total", "memory_free", "compute_capability", "driver")
        return {name: getattr(self, name) for name in names}

    def telemetry(self) -> dict[str, Any]:
        """Return the GPU as a heartbeat describes it."""
        names = ("uuid", "memory_total", "memory_free", "utilization", "temperature", "power", "power_limit")
        return {name: getattr(self, name) for name in names}


DRIVER_MISSING: Final = (
    "No NVIDIA driver was found on this machine. If it has an NVIDIA GPU, install the driver "
    "(Debian: apt-get install nvidia-driver); in a container, start it with the GPUs (--gpus all)."
)
"""The `Gpus.reason` without a driver."""

_SLICE: Final = "MIG-"
"""The beginning of an instance's UUID."""

_NO_INSTANCES: Final = (
    "It is in MIG mode without an instance. Create some (as root: nvidia-smi mig -cgi PROFILES -C), "
    "or turn the mode off (nvidia-smi -mig 0)."
)

_PROHIBITED: Final = (
    "its compute mode is PROHIBITED, so that no program can compute on it; as root, run nvidia-smi -c DEFAULT"
)

_NO_ANSWER: Final = "The NVIDIA driver does not respond. If this lasts, restart the machine."

_REMEDIES: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: DRIVER_MISSING,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "The NVIDIA driver is installed but not loaded. Run `modprobe nvidia` as root, or restart the machine."
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "The NVIDIA driver was updated and its old kernel module is still loaded. Restart the machine."
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "This user may not use the NVIDIA devices. Allow it to open /dev/nvidia* (often the group `video`)."
    ),
    pynvml.NVML_ERROR_GPU_IS_LOST: (
        "It has fallen off the bus. Restart the machine, and check the card's power and slot."
    ),
    pynvml.NVML_ERROR_RESET_REQUIRED: (
        "It must be reset. Run `nvidia-smi --gpu-reset` as root, or restart the machine."
    ),
}

_CONNECTION_ERRORS: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_UNKNOWN,
}
"""Errors of a card that last until a new connection, as after a driver was replaced or a card was reset."""


class GpuReadings(Protocol):
    """The GPUs on which jobs run, of this machine or of all nodes of a cluster.

    `last` are those as of the last reading, and `reason` states why GPUs are missing or unusable.
    """

    @property
    def last(self) -> tuple[Gpu, ...]: ...  # noqa: D102 - see the class

    @property
    def reason(self) -> str | None: ...  # noqa: D102 - as above

    def snapshot(self) -> tuple[Gpu, ...]:
        """Return the GPUs as they are now. Blocking but quick; raises nothing."""

    async def refresh(self) -> tuple[Gpu, ...]:
        """Return the GPUs as they are now."""

    def others(self) -> Mapping[str, int]:
        """Return how many processes of other programs compute on each GPU, by its UUID. Blocking."""

    def largest_other(self) -> Mapping[str, int]:
        """Return the most bytes of each GPU that one process of another program uses, computing or drawing, by its UUID. Blocking."""

    def energy(self) -> Mapping[str, CardPower]:
        """Return what the card of each GPU has consumed, by the GPU's UUID. Blocking. Raises `TimeoutError` if the driver hangs."""

    def close(self) -> None:
        """Disconnect from the driver."""


def is_slice(device: Device) -> bool:
    """Return whether a device is a slice of a GPU, which CUDA cannot use together with another device."""
    return device.uuid is not None and device.uuid.startswith(_SLICE)


def own_processes() -> set[int]:
    """Return the ids of this process and of all that it started. Blocking."""
    return {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}


class Gpus:
    """The GPUs that this process may use. Owns NVML; may be called from any thread.

    `ours` returns the ids of the processes that are no other programs, and `others` has the cards of other makers than NVIDIA.

    Of a card in MIG mode, each instance is a GPU, and the card itself is none.

    `CUDA_VISIBLE_DEVICES` is interpreted as CUDA does: UUIDs, prefixes of UUIDs or indices, ignoring all entries after the
    first one that names no GPU. The indices count the fastest card first, unless `CUDA_DEVICE_ORDER` is PCI_BUS_ID; the index of a card in MIG mode is its first instance. `reason` states why GPUs are missing or unusable, None without a problem; `last` are the
    GPUs as of the last reading.
    """

    def __init__(
        self, ours: Callable[[], Iterable[int]] = own_processes, others: VulkanCards | None = None
    ) -> None:
        self._ours = ours
        self._other_makers = others or VulkanCards()
        # The variable belongs to CUDA and must mean here what it means to the engines.
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._by_bus = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        self._lock = threading.Lock()
        self._connected = False
        self._xids = XidErrors()
        self._pause = 0.0
        self._reconnect_at = 0.0
        self.last: tuple[Gpu, ...] = ()
        self.reason: str | None = None

    def snapshot(self) -> tuple[Gpu, ...]:
        """Return the GPUs as they are now. Blocking but quick; raises nothing.

        If another thread's call hangs in the driver, this returns the last known GPUs and sets `reason`.
        """
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            self._explain(_NO_ANSWER)
            return self.last
        try:
            nvidia, reason = self._read()
        finally:
            self._lock.release()
        others = self._read_others(1 + max((gpu.index for gpu in nvidia), default=-1))
        if reason == DRIVER_MISSING and (others or self._other_makers.reason):
            reason = None
        self.last = (*nvidia, *others)
        self._explain(reason or self._other_makers.reason)
        return self.last

    async def refresh(self) -> tuple[Gpu, ...]:
        """Run `snapshot` in a thread of its own. Returns the last known GPUs after five seconds."""
        try:
            seconds = _REFRESH_SECONDS + self._other_makers.seconds
            return await call_within(seconds, self.snapshot, name="gpus-snapshot")
        except TimeoutError:
            self._explain(_NO_ANSWER)
            return self.last

    def computing(self) -> dict[str, frozenset[int]]:
        """Return the ids of the processes that compute on each GPU, by its UUID, including ours. Blocking; raises nothing.

        A GPU that does not report them has none. In a container the ids may be those of another process namespace.
        """
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            return {}
        try:
            if not self._connected:
                return {}
            return {
                gpu.uuid: _optional(partial(_computing, gpu)) or frozenset()
                for gpu in self.last
                if gpu.kind == "cuda"
            }
        finally:
            self._lock.release()

    def others(self) -> dict[str, int]:
        """Return how many processes of other programs compute on each GPU, among those that this system can see. Blocking."""
        computing = self.computing()
        if not any(computing.values()):
            return {}
        ours = set(self._ours())
        return {
            uuid: sum(psutil.pid_exists(pid) for pid in processes - ours)
            for uuid, processes in computing.items()
        }

    def largest_other(self) -> dict[str, int]:
        """Return the most bytes of each GPU that one process of another program uses, computing or drawing, by its UUID. Blocking."""
        memory = self._process_memory()
        ours = set(self._ours())
        return {
            uuid: max(
                (size for pid, size in used.items() if pid not in ours and psutil.pid_exists(pid)), default=0
            )
            for uuid, used in memory.items()
        }

    def energy(self) -> dict[str, CardPower]:
        """Return what the card of each GPU has consumed, by the GPU's UUID. Blocking. Raises `TimeoutError` if the driver hangs."""
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            raise TimeoutError(_NO_ANSWER)
        try:
            # Of other makers' cards, the power as of the last reading.
            return {
                gpu.uuid: read_power(gpu.index)
                if gpu.kind == "cuda" and self._connected
                else CardPower(gpu.uuid, None, gpu.power)
                for gpu in self.last
            }
        finally:
            self._lock.release()

    async def process_memory(self) -> dict[str, dict[int, int]]:
        """Return the bytes that each process uses on each GPU, by the GPU's UUID and the process's id; empty if unknown.

        Raises nothing. In a container the ids may be those of another process namespace.
        """
        try:
            return await call_within(_REFRESH_SECONDS, self._process_memory, name="gpus-processes")
        except TimeoutError:
            return {}

    def _process_memory(self) -> dict[str, dict[int, int]]:
        others = self._other_makers.memory_by_process()
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            return others
        try:
            if not self._connected:
                return others
            return others | {gpu.uuid: _memory_by_process(gpu) for gpu in self.last if gpu.kind == "cuda"}
        finally:
            self._lock.release()

    def _read_others(self, first: int) -> list[Gpu]:
        return [
            Gpu(
                uuid=card.uuid,
                index=index,
                name=card.name,
                memory_total=card.memory_total,
                memory_free=card.memory_free,
                compute_capability=None,
                driver=card.drm.driver if card.drm else "",
                utilization=card.drm.utilization if card.drm else None,
                temperature=card.drm.temperature if card.drm else None,
                power=card.drm.power if card.drm else None,
                power_limit=card.drm.power_limit if card.drm else None,
                bus=card.bus,
                kind="vulkan",
            )
            for index, card in enumerate(self._other_makers.read(), first)
        ]

    def close(self) -> None:
        """Disconnect from NVML. A later `snapshot` connects again."""
        if self._lock.acquire(timeout=_LOCK_SECONDS):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def _explain(self, reason: str | None) -> None:
        if reason != self.reason:
            self.reason = reason
            _log.info("gpus_changed", gpus=[gpu.uuid for gpu in self.last], reason=reason)

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            self._xids.close()
            # The connection is closed either way.
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _read(self) -> tuple[tuple[Gpu, ...], str | None]:
        try:
            if not self._connected:
                pynvml.nvmlInit()
                self._connected = True
                # It listens while connected, since the driver reports each error once, to programs that listened before.
                self._xids.listen(pynvml.nvmlDeviceGetCount())
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._disconnect()
            if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
                self._xids.forget()
            return (), _remedy(error)
        gpus: list[Gpu] = []
        problems: list[str] = []
        connected = True
        for index in range(count):
            try:
                card = _read_card(index, driver, self._xids)
            except pynvml.NVMLError as error:
                problems.append(f"GPU {index} cannot be used. {_remedy(error)}")
                connected = connected and error.value not in _CONNECTION_ERRORS
                continue
            # A card in MIG mode gives its instances instead of itself, since programs can use only those.
            gpus += card
            if not card:
                problems.append(f"GPU {index} cannot be used. {_NO_INSTANCES}")
        order = range(count) if self._visible is None or self._by_bus else _fastest_first(count)
        self._renew(connected=connected)
        visible = tuple(_visible(gpus, self._visible, order))
        if not visible and not problems:
            problems.append(self._why_none(count))
        return visible, " ".join(problems) or None

    def _renew(self, *, connected: bool) -> None:
        """Disconnect, so that the next reading connects again, if that may bring a card back: at once, then after growing pauses."""
        if connected:
            self._pause = self._reconnect_at = 0.0
        elif (now := time.monotonic()) >= self._reconnect_at:
            # Errors of the other cards are lost while nobody listens, so a card that is lost for good must not end each connection.
            self._disconnect()
            self._pause = min(2 * self._pause or _RECONNECT_SECONDS, _LONGEST_PAUSE)
            self._reconnect_at = now + self._pause

    def _why_none(self, count: int) -> str:
        if count == 0:
            return "The NVIDIA driver is loaded, but finds no GPU. Check that the card is in its slot and has power."
        return (
            f"CUDA_VISIBLE_DEVICES={self._visible} leaves none of this machine's {count} GPUs visible. "
            "Unset it, or name them by index or UUID."
        )


def _remedy(error: Any) -> str:
    remedy = _REMEDIES.get(error.value)
    return remedy or f"NVML reports {str(error)!r} (code {error.value}). Check whether `nvidia-smi` works."


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _read_card(index: int, driver: str, xids: XidErrors) -> list[Gpu]:
    """Return the card, or its instances if it is in MIG mode. Raises `NVMLError`."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    mode = _optional(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    # A driver that does not know the question has no such mode.
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [_read_gpu(handle, index, driver, xids, _memory(handle))]
    # Only an administrator may read the memory of a card in this mode; the instances' own is needed anyway.
    card = _read_gpu(handle, index, driver, xids, (0, 0))
    instances: list[Gpu] = []
    failure: Any = None
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instances.append(_read_slice(handle, card, number))
        except pynvml.NVMLError as error:
            # The numbers may have gaps, as instances are created and destroyed one by one.
            failure = failure if error.value == pynvml.NVML_ERROR_NOT_FOUND else error
    if failure is not None and not instances:
        raise failure
    return instances


def _read_slice(handle: Any, card: Gpu, number: int) -> Gpu:
    """Return an instance of a card in MIG mode. Raises `NVMLError` if there is none with this number."""
    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
    total, free = _memory(instance)
    return replace(
        card,
        uuid=_text(pynvml.nvmlDeviceGetUUID(instance)),
        name=_text(pynvml.nvmlDeviceGetName(instance)),
        memory_total=total,
        memory_free=free,
        utilization=None,  # the driver reports it for the whole card only
        slice=number,
        by_index=_optional(lambda: _card_name(number)) == card.name,
        device_files=device_files.of_slice(
            card.device_files,
            _optional(lambda: pynvml.nvmlDeviceGetGpuInstanceId(instance)),
            _optional(lambda: pynvml.nvmlDeviceGetComputeInstanceId(instance)),
        ),
    )


def _card_name(index: int) -> str:
    return _text(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index)))


def _handle(gpu: Gpu) -> Any:
    card = pynvml.nvmlDeviceGetHandleByIndex(gpu.index)
    return card if gpu.slice is None else pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, gpu.slice)


def _read_gpu(handle: Any, index: int, driver: str, xids: XidErrors, memory: tuple[int, int]) -> Gpu:
    total, free = memory
    capability = _optional(lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    milliwatts = _optional(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    limit = _optional(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))
    uuid, name = _text(pynvml.nvmlDeviceGetUUID(handle)), _text(pynvml.nvmlDeviceGetName(handle))
    mode = _optional(lambda: pynvml.nvmlDeviceGetComputeMode(handle))
    return Gpu(
        uuid=uuid,
        index=index,
        name=name,
        memory_total=total,
        memory_free=free,
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        driver=driver,
        utilization=_optional(lambda: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
        temperature=_optional(
            lambda: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        ),
        power=None if milliwatts is None else milliwatts / 1000,
        power_limit=None if limit is None else limit / 1000,
        fault=fault(handle, xids.of(uuid))
        or (_PROHIBITED if mode == pynvml.NVML_COMPUTEMODE_PROHIBITED else None),
        slowed=slowed(handle, name),
        exclusive=mode == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
        bus=_optional(partial(_address, handle)),
        device_files=device_files.of_card(_optional(lambda: pynvml.nvmlDeviceGetMinorNumber(handle))),
    )


def _address(handle: Any) -> str:
    # NVML writes the domain with eight digits, others with four.
    return _text(pynvml.nvmlDeviceGetPciInfo(handle).busId)[-len("0000:00:00.0") :].lower()


def _computing(gpu: Gpu) -> frozenset[int]:
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(_handle(gpu))
    return frozenset(int(process.pid) for process in processes)


def _memory_by_process(gpu: Gpu) -> dict[int, int]:
    """Return the memory of processes that compute, render or encode; a process may be in both of NVML's lists."""
    memory_by_process: dict[int, int] = {}
    for read in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _optional(partial(_running, read, gpu)) or ():
            # Both lists give the same figure for a process that is in both; adding them would count its memory twice.
            memory_by_process[process.pid] = max(
                memory_by_process.get(process.pid, 0), int(process.usedGpuMemory or 0)
            )
    return memory_by_process


def _running(read: Callable[[Any], list[Any]], gpu: Gpu) -> list[Any]:
    return read(_handle(gpu))


def _memory(handle: Any) -> tuple[int, int]:
    """Return total and free bytes. Older libraries have only the first version, which ignores reserved memory."""
    try:
        info = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
            # The GPU has no memory of its own and shares the machine's (Grace, Jetson).
            shared = psutil.virtual_memory()
            return shared.total, shared.available
        info = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return int(info.total), int(info.free)


def _fastest_first(count: int) -> Sequence[int]:
    """Return the cards' indices in CUDA's usual order; in that of the bus if a driver does not report how fast they are."""
    speeds = [_optional(partial(_speed, index)) for index in range(count)]
    if None in speeds:
        return range(count)
    # CUDA's own measure is not documented; cards of one model are in the order of the bus.
    return sorted(range(count), key=lambda index: -(speeds[index] or 0))


def _speed(index: int) -> int:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    clock = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
    return int(pynvml.nvmlDeviceGetNumGpuCores(handle) * clock)


def _visible(gpus: list[Gpu], names: str | None, order: Sequence[int]) -> Iterator[Gpu]:
    if names is None:
        yield from gpus
        return
    uuids: set[str] = set()
    for name in (part.strip() for part in names.split(",")):
        gpu = _find(gpus, name, order)
        if gpu is None or gpu.uuid in uuids:
            return
        uuids.add(gpu.uuid)
        yield gpu


def _find(gpus: list[Gpu], name: str, order: Sequence[int]) -> Gpu | None:
    if name.isdecimal():
        index = order[int(name)] if int(name) < len(order) else None
        return next((gpu for gpu in gpus if gpu.index == index), None)
    matches = [gpu for gpu in gpus if name.startswith(("GPU-", _SLICE)) and gpu.uuid.startswith(name)]
    return matches[0] if len(matches) == 1 else None
