"""The environment of child processes."""

from __future__ import annotations

import os


def inherited() -> dict[str, str]:
    """Return the variables that a child process inherits (PATH, proxies, caches): not our settings, which may contain secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
