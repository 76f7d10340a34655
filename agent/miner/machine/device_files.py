"""The device files of a card, or of a slice of one (MIG instance), with which programs reach it and no other card."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

WSL: Final = Path("/dev/dxg")
"""The only device file in WSL2, which is for all cards."""

MIG_MINORS: Final = Path("/proc/driver/nvidia-caps/mig-minors")
"""The driver's list of the files that grant access to instances, such as "gpu0/gi1/ci0/access 13"."""


def of_card(minor: int | None) -> tuple[str, ...]:
    """Return the names in /dev for a card with this minor number; none if that is None, or in WSL2."""
    return () if minor is None or WSL.exists() else (f"nvidia{minor}",)


def of_slice(card: tuple[str, ...], instance: int | None, compute: int | None) -> tuple[str, ...]:
    """Return the names in /dev for a slice, by its card's and the ids of its GPU instance and its compute instance; none if unknown."""
    if not card or instance is None or compute is None:
        return ()
    access = f"{card[0].replace('nvidia', 'gpu')}/gi{instance}"
    minors: dict[str, str] = {}
    with suppress(OSError):
        minors = dict(re.findall(r"^(\S+) (\d+)$", MIG_MINORS.read_text(encoding="utf-8"), re.MULTILINE))
    numbers = [minors.get(f"{access}/access"), minors.get(f"{access}/ci{compute}/access")]
    if None in numbers:
        return ()
    return (*card, *(f"nvidia-caps/nvidia-cap{number}" for number in numbers))
