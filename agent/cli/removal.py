"""What the agent has on disk outside of its installation: what can be created again, and the data that cannot.

A directory that the owner chose may contain files of others. There, only what the agent has created is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import platformdirs

from agent.atomic_file import replace_file
from agent.configuring.reading import SettingsReading
from agent.miner.engines.environments import engines_directory
from agent.miner.engines.uv import DIRECTORY_OF_PACKAGES
from agent.miner.models.locks import FETCHED_MARK
from agent.miner.sealing import directory as memory_directory
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.updates.directory import RECORD
from agent.updates.starting import versions_of

_OF_UPDATES: Final = frozenset({"current", "lock", "report.json", "scratch", "update.json"})
"""What is in the directory of versions, apart from these and from backups."""
_CACHED: Final = ("blender-kernels", "compiled", "engines", "nvenc-sessions", "python-environments")
"""What is in `cache_dir`, apart from the models."""
_DATA: Final = frozenset(
    {
        "calibrations.toml",
        "coordinator",
        "engines",
        "engines.toml",
        "logs",
        "miner",
        "models.toml",
        "versions",
    }
)
"""What is in `data_dir`, apart from `agent.*`."""
_KEYS: Final = ("*.key", "keys.json", "api_key.json")
_COMPLETIONS: Final = (
    ".bash_completions/aitbc-agent.sh",
    ".zfunc/_aitbc-agent",
    ".config/fish/completions/aitbc-agent.fish",
)


def clients_data(reading: SettingsReading) -> list[Path]:
    """Return what the command `aitbc` stores about its batches, unless this agent is an additional one with data elsewhere."""
    return [] if "data_dir" in reading.origins else [platformdirs.user_state_path("aitbc")]


def own_data(reading: SettingsReading) -> list[Path]:
    """Return the data directory, or what the agent has created there if the owner has chosen it and it contains other files."""
    directory = reading.settings.data_dir
    if "data_dir" not in reading.origins or not directory.is_dir():
        return [directory]
    entries = sorted(directory.iterdir())
    own = [entry for entry in entries if entry.name in _DATA or entry.name.startswith("agent.")]
    return [directory] if len(own) == len(entries) else own


def replaceable(reading: SettingsReading) -> list[Path]:
    """Return what can be created again: models, engines and other caches, versions of updates, the shell's completion."""
    settings, chosen = reading.settings, reading.origins
    versions = versions_of(settings)
    has_backups = versions.backups.is_dir() and any(versions.backups.iterdir())
    paths = [
        *_created(settings.models_dir, _is_model, chosen="models_dir" in chosen),
        *(
            (settings.cache_dir / name for name in _CACHED)
            if "cache_dir" in chosen
            else (settings.cache_dir,)
        ),
        *_created(engines_directory(settings), _is_engine, chosen="engines.directory" in chosen),
        # Backups stay, which are data.
        *_created(versions.path, _is_version, chosen="updates.directory" in chosen or has_backups),
        *(Path.home() / name for name in _COMPLETIONS),
    ]
    in_memory = memory_directory.find(
        section_of(settings, MinerSettings).sealing.directory, settings.data_dir
    )
    paths += [in_memory.path] if in_memory.path is not None else []
    there = [
        path for path in dict.fromkeys(paths) if os.path.lexists(path) and os.access(path.parent, os.W_OK)
    ]
    return [path for path in there if not any(other in path.parents for other in there)]


def backups(reading: SettingsReading) -> Path:
    """Return the directory of the databases that were saved before a migration, which are data."""
    return versions_of(reading.settings).backups


def _created(directory: Path, is_own: Callable[[Path], bool], *, chosen: bool) -> Iterator[Path]:
    """Yield a directory, or of one that the owner has chosen what the agent has created there."""
    if not chosen:
        yield directory
    elif directory.is_dir():
        yield from filter(is_own, directory.iterdir())


def _is_model(entry: Path) -> bool:
    return (entry / FETCHED_MARK).exists() or entry.name.startswith(
        (".use", ".fetching", ".removing-", ".space-lock", ".digests.json")
    )


def _is_engine(entry: Path) -> bool:
    return (entry / "lock").exists() or entry.name == DIRECTORY_OF_PACKAGES


def _is_version(entry: Path) -> bool:
    return entry.name in _OF_UPDATES or (entry / RECORD).exists()


def keys(data_dir: Path) -> list[Path]:
    """Return the files of a data directory with private keys."""
    return sorted(path for pattern in _KEYS for path in data_dir.rglob(pattern) if path.is_file())


def size(path: Path) -> int:
    """Return the bytes on disk below a path, as far as they can be read."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += Path(directory, name).lstat().st_blocks * 512
    return total


def remove(path: Path) -> None:
    """Remove a file, a link or a directory. Raises `OSError`."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
    if path.name == "aitbc-agent.sh":
        _forget_completion(path)


def _forget_completion(script: Path) -> None:
    """Remove the line that reads a completion from .bashrc, which would fail in every new shell."""
    profile = Path.home() / ".bashrc"
    with suppress(OSError):
        lines = profile.read_text(encoding="utf-8").splitlines(keepends=True)
        others = [line for line in lines if str(script) not in line]
        if others != lines:
            replace_file(profile, "".join(others).encode())
        script.parent.rmdir()
