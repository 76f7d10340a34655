"""Merges the sources of settings and determines the origin of a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.settings.invalid import Origin
from agent.settings.sources import EnvironmentValues, SettingsFile

Json = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """All sources, by descending precedence."""

    flags: Mapping[str, Any]
    environment: EnvironmentValues
    file: SettingsFile

    def merged(self) -> Json:
        """Return the merged values. Tables are merged entry by entry."""
        return _over(_over(self.file.values, self.environment.values), self.flags)

    def origin(self, path: tuple[str, ...]) -> Origin:
        """Return where the value at a path was set."""
        if _has(self.flags, path):
            return Origin("flag")
        if _has(self.environment.values, path):
            return Origin("environment", self._variable(path))
        if _has(self.file.values, path):
            return Origin("file", str(self.file.path), self.file.line(path))
        return Origin("default")

    def _variable(self, path: tuple[str, ...]) -> str:
        """Return the variable of a path, or else of its nearest ancestor that a variable sets, or else the first one below it."""
        for length in range(len(path), 0, -1):
            variable = f"aitbc_{'__'.join(path[:length])}".lower()
            if variable in self.environment.names:
                return self.environment.names[variable]
        # The path may be a section of which a variable sets only a part.
        below = f"aitbc_{'__'.join(path)}__".lower()
        return next(
            (name for low, name in self.environment.names.items() if low.startswith(below)), "AITBC_..."
        )


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Json:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True
