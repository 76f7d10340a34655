"""Signs that a GPU is faulty: errors of its memory that the driver could not correct, and the driver's own reports (Xid).

A faulty card may compute wrong results, or fail every job. See NVIDIA's "GPU Memory Error Management" and "XID Errors".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

import pynvml

RESET: Final = "reset it (nvidia-smi --gpu-reset as root) or restart the machine"

FAULTY: Final = {
    48: "an uncorrectable memory error",
    62: "its microcontroller halted",
    64: "a damaged part of its memory could not be replaced",
    74: "an error of NVLink",
    79: "it has fallen off the bus",
    95: "an uncontained memory error",
    119: "its system processor does not respond",
    120: "its system processor failed",
    140: "an unrecoverable memory error",
}
"""Xid errors that mean a faulty card or driver, until a reset. Others, such as 13, 31, 43 and 94, are those of one program."""

SLOWED: Final = (
    pynvml.nvmlClocksEventReasonHwThermalSlowdown | pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
)
"""The hardware has cut the clock in half or more to protect the card. The usual limits of power and heat are not among these."""

_T = TypeVar("_T")


def optional(read: Callable[[], _T]) -> _T | None:
    """Return the result of `read`, or None if this GPU or this library does not support it."""
    try:
        return read()
    except pynvml.NVMLError:
        return None


def memory_fault(handle: Any) -> str | None:
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


def slowed(handle: Any) -> bool:
    """Return whether the hardware slows the card down to protect it from heat or from a weak power supply."""
    return bool((optional(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0) & SLOWED)


class XidErrors:
    """The Xid errors since the connection to NVML, by UUID. Not thread-safe, as the rest of a connection."""

    def __init__(self, count: int) -> None:
        self._found: dict[str, int] = {}
        self._events = optional(pynvml.nvmlEventSetCreate)
        for index in range(count if self._events is not None else 0):
            # A card without such events, or one that is lost.
            with suppress(pynvml.NVMLError):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def fault(self, uuid: str) -> str | None:
        """Return the fault of a card as part of a sentence, None if no error was reported."""
        for card, xid in self._new():
            if xid in FAULTY:
                self._found.setdefault(card, xid)
        xid = self._found.get(uuid, 0)
        return f"Xid {xid}, {FAULTY[xid]}; {RESET}" if xid else None

    def close(self) -> None:
        """Stop receiving events."""
        if self._events is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._events)

    def _new(self) -> Iterator[tuple[str, int]]:
        while self._events is not None:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = pynvml.nvmlDeviceGetUUID(event.device)
            except pynvml.NVMLError:  # most often a timeout: there are no more events
                return
            yield (uuid.decode() if isinstance(uuid, bytes) else uuid), int(event.eventData)
