"""What this agent stores on the disk, in one figure: models, engines, caches with the environments of Python models, and its data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.miner.settings import EnginesSettings
from agent.sections import section_of
from agent.settings import Settings

_BLOCK: Final = 512


def directories(settings: Settings) -> dict[str, Path]:
    """Return the directories by what they contain. One may be inside another one."""
    engines = section_of(settings, EnginesSettings).directory or settings.cache_dir / "engines"
    paths = {
        "models": settings.models_dir,
        "engines": engines,
        "caches": settings.cache_dir,
        "data": settings.data_dir,
    }
    return {name: path.expanduser().absolute() for name, path in paths.items()}


def disk_use(directories: Mapping[str, Path]) -> dict[str, int]:
    """Return the bytes that the directories take on the disk, each without those inside it. A file with several names counts once. Blocking."""
    seen: set[tuple[int, int]] = set()
    roots = set(directories.values())
    return {name: _size(path, roots - {path}, seen) for name, path in directories.items()}


def _size(directory: Path, others: set[Path], seen: set[tuple[int, int]]) -> int:
    total = 0
    for parent, subdirectories, names in os.walk(directory):
        subdirectories[:] = [name for name in subdirectories if Path(parent, name) not in others]
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - there may be a million
            except OSError:  # it was removed a moment ago
                continue
            if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                total += _BLOCK * status.st_blocks
            if status.st_nlink > 1:
                seen.add((status.st_dev, status.st_ino))
    return total
