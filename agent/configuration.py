"""Finds the shipped files (the catalogue of models, units for systemd), and reads TOML files.

The shipped files are in `agent/configs` and `agent/systemd` of an installed package, or in `configs` and `systemd` of a checkout.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from agent.core.errors import ConfigurationError


def configuration_directory() -> Path:
    """Return the directory of the shipped configuration. Raises `ConfigurationError` if the installation is incomplete."""
    return _shipped("configs", "models.toml")


def units_directory() -> Path:
    """Return the directory of the shipped systemd units. Raises `ConfigurationError` if the installation is incomplete."""
    return _shipped("systemd", "aitbc-agent.service")


def _shipped(name: str, file: str) -> Path:
    package = Path(__file__).parent
    for directory in (package / name, package.parent / name):
        if (directory / file).is_file():
            return directory
    raise ConfigurationError(f"{file} is missing from this installation. Install aitbc-agent again.")


def read_document(path: Path) -> dict[str, Any]:
    """Return a parsed TOML file. Raises `ConfigurationError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
