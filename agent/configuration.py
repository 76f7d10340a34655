"""Finds and reads the shipped files (the catalogue of models, units for systemd) and those that an owner adds.

The shipped files are in `agent/configs` and `agent/systemd` of an installed package, or in `configs` and `systemd` of a checkout.
The owner's are in the data directory.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from agent.core.errors import ConfigurationError
from agent.core.machine.catalogue import CatalogueEntry, parse_catalogue


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


@cache
def _read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    return parse_catalogue(read_document(path))


def read_document(path: Path) -> dict[str, Any]:
    """Return a parsed TOML file. Raises `ConfigurationError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None


def owners_catalogue_file(data_dir: Path) -> Path:
    """Return the path of the catalogue of an owner's own models."""
    return data_dir / "models.toml"


def load_owners_catalogue(data_dir: Path) -> dict[str, CatalogueEntry]:
    """Read the owner's own models; none if the file does not exist. Raises `ConfigurationError`."""
    path = owners_catalogue_file(data_dir)
    return parse_catalogue(read_document(path), str(path)) if path.exists() else {}


def load_catalogue(data_dir: Path | None = None) -> dict[str, CatalogueEntry]:
    """Return the models that jobs may use, by name: the shipped ones, and the owner's, which replace those of the same name.

    The shipped file is read once per process; every caller gets a dictionary of its own. Raises `ConfigurationError`.
    """
    shipped = _read_catalogue(configuration_directory() / "models.toml")
    return {**shipped, **({} if data_dir is None else load_owners_catalogue(data_dir))}
