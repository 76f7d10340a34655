"""Signs that a GPU is faulty: errors of its memory that the driver could not correct, and the driver's own reports (Xid).

A faulty card may compute wrong results, or fail every job. See NVIDIA's "GPU Memory Error Management" and "XID Errors".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

import pynvml

RESET: Final = "reset it (nvidia-smi --gpu-reset as root, while the agent is stopped) or restart the machine"

FAULTY: Final = {
    46: "it stopped working on its programs",
    48: "an uncorrectable memory error",
    62: "its microcontroller halted",
    64: "a damaged part of its memory could not be replaced",
    74: "an error of NVLink",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
    109: "it could not change from one program to another",
    110: "a security fault",
    119: "its system processor does not respond",
    120: "its system processor failed",
    136: "its link to other cards could not be set up",
    140: "an unrecoverable memory error",
    143: "it could not be initialised",
    **dict.fromkeys(range(144, 151), "an error of NVLink"),
    154: "the driver wants it to be recovered",
}
"""Xid errors that mean a faulty card or driver, until a reset. Others, such as 13, 31, 43 and 94, are those of one program."""

SLOWED: Final = (
    pynvml.nvmlClocksEventReasonHwThermalSlowdown | pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
)
"""The hardware has cut the clock in half or more to protect the card. The usual limits of power and heat are not among these."""

_RECOVERY_CHANGED: Final = 154
"""The Xid error with which the driver reports another recovery action, also that none is needed any more."""

_RECOVERY_ACTION: Final = 230
"""NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, which the oldest supported nvidia-ml-py does not name."""

_RECOVERIES: Final = {
    1: RESET,
    2: "restart the machine",
    3: "end all programs that use several cards together",
    4: f"it works with less than its full capacity; {RESET}",
    5: "recover the IMEX domain of this machine",
    6: "reset it through the PCI bus, or turn the machine off and on",
    7: "restart the machine",
}
"""What to do for each recovery action (NVML_GPU_RECOVERY_ACTION_*); 0 is none."""

_PORTABLE: Final = ("Laptop", "Max-Q")
"""Words in the names of cards that are built into laptops."""

_T = TypeVar("_T")


def optional(read: Callable[[], _T]) -> _T | None:
    """Return the result of `read`, or None if this GPU or this library does not support it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None


def fault(handle: Any, xid: int | None) -> str | None:
    """Return what is wrong with a card and the remedy, as part of a sentence; None if nothing is known to be.

    `xid` is the error of `FAULTY` that the driver has reported for it.
    """
    action = _recovery_action(handle)
    remedy = _RECOVERIES.get(action or 0)
    if xid == _RECOVERY_CHANGED and action == 0:
        xid = None
    if xid is not None:
        return f"Xid {xid}, {FAULTY[xid]}; {remedy or RESET}"
    if (damage := _memory_fault(handle)) is not None:
        return damage
    # The driver also asks for a reset after errors that happened before this program listened.
    return f"the driver wants it to be recovered; {remedy or 'see `nvidia-smi -q`'}" if action else None


def _recovery_action(handle: Any) -> int | None:
    """Return what the driver wants done with a card, None before version 570."""
    fields = optional(lambda: pynvml.nvmlDeviceGetFieldValues(handle, [_RECOVERY_ACTION]))
    if fields is None or fields[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return int(fields[0].value.uiVal)


def _memory_fault(handle: Any) -> str | None:
    """Return what is wrong with a card's memory and the remedy, as part of a sentence; None if nothing is known to be."""
    remapped = optional(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
    if remapped is not None and remapped[3]:
        return "its memory is damaged beyond repair; replace the card"
    pending = optional(lambda: pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle))
    if pending or (remapped is not None and remapped[2]):
        return f"a damaged part of its memory is replaced with the next reset; {RESET}"
    errors = optional(
        lambda: pynvml.nvmlDeviceGetTotalEccErrors(
            handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        )
    )
    if errors:
        return f"{errors} uncorrectable memory error{'' if errors == 1 else 's'} since the driver was loaded; {RESET}"
    return None


def slowed(handle: Any, name: str) -> bool:
    """Return whether the hardware slows the card of this name down to protect it from heat or from a weak power supply."""
    reasons = optional(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0
    # A laptop brakes its card in normal use, whenever card and processor together want more than charger and battery give.
    if any(word in name for word in _PORTABLE):
        reasons &= ~pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
    return bool(reasons & SLOWED)


class XidErrors:
    """The Xid errors that the driver has reported, by UUID. They outlive a connection to NVML; not thread-safe, as that."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        self._events: Any = None

    def listen(self, count: int) -> None:
        """Receive the errors of this many cards from now on. NVML does not report earlier ones."""
        self._events = optional(pynvml.nvmlEventSetCreate)
        for index in range(count if self._events is not None else 0):
            # A card without such events, or one that is lost.
            with suppress(pynvml.NVMLError):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def of(self, uuid: str) -> int | None:
        """Return the first error that means a faulty card, None if there was none."""
        for card, xid in self._new():
            if xid in FAULTY:
                # Those that follow the first one are most often its consequences. A changed recovery action is never the cause.
                previous = self._reported.get(card, _RECOVERY_CHANGED)
                self._reported[card] = xid if previous == _RECOVERY_CHANGED else previous
        return self._reported.get(uuid)

    def forget(self) -> None:
        """Forget all errors: the driver was unloaded, which resets the cards."""
        self._reported.clear()

    def close(self) -> None:
        """Stop receiving events."""
        if self._events is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._events)
            self._events = None

    def _new(self) -> Iterator[tuple[str, int]]:
        while self._events is not None:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = pynvml.nvmlDeviceGetUUID(event.device)
            except pynvml.NVMLError:  # most often a timeout: there are no more events
                return
            yield (uuid.decode() if isinstance(uuid, bytes) else uuid), int(event.eventData)
