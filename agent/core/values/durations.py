"""Durations as people write and read them: "2h", "1h30m", "45 s"."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s?)?", re.ASCII)
_LONGEST: Final = 366 * 86400


def parse_duration(text: str) -> float:
    """Return the seconds of "2h", "1h30m", "90s", "90" or "1d". Raises `ValueError` with examples of valid durations."""
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = (
        0
        if match is None
        else sum(
            int(count) * size for count, size in zip(match.groups(), _UNITS.values(), strict=True) if count
        )
    )
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f'{text!r} is not a duration; write it like "2h", "1h30m", "45m" or "90s"')
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: "45 s", "12 min 5 s", "2 h 5 min", "3 d 1 h"."""
    remaining_seconds = max(0, round(seconds))
    parts = []
    for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, remaining_seconds = divmod(remaining_seconds, size)
        parts.append((count, name))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count) or "0 s"
