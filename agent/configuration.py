"""Finds and reads the files that come with the program (the catalogue of models, units for systemd), and what an owner adds.

The shipped ones lie in `agent/configs` and `agent/systemd` of an installed package, and in the directories of these names of
a checkout; the owner's lie in the data directory.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from agent.core.errors import ConfigurationError
from agent.core.machine.catalogue import CatalogueEntry, parse_catalogue


def configuration_directory() -> Path:
    """Where the shipped configuration lies. Raises `ConfigurationError` if the installation is incomplete."""
    return _shipped("configs", "models.toml")


def units_directory() -> Path:
    """Where the shipped units for systemd lie. Raises `ConfigurationError` if the installation is incomplete."""
    return _shipped("systemd", "aitbc-agent.service")


def _shipped(name: str, file: str) -> Path:
    package = Path(__file__).parent
    for directory in (package / name, package.parent / name):
        if (directory / file).is_file():
            return directory
    raise ConfigurationError(f"{file} is missing from this installation; install aitbc-agent again.")


@cache
def _read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    return parse_catalogue(_read_document(path))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None


def owners_catalogue_file(data_dir: Path) -> Path:
    """Where an owner's own models are described."""
    return data_dir / "models.toml"


def load_owners_catalogue(data_dir: Path) -> dict[str, CatalogueEntry]:
    """The owner's own models; none if the file is not there. Raises `ConfigurationError`."""
    path = owners_catalogue_file(data_dir)
    return parse_catalogue(_read_document(path), str(path)) if path.exists() else {}


def load_catalogue(data_dir: Path | None = None) -> dict[str, CatalogueEntry]:
    """The models that jobs may name, by name: those shipped and, in their place or beside them, the owner's.

    The shipped file is read once in the life of the process; every caller gets a dictionary of its own. Raises
    `ConfigurationError`.
    """
    shipped = _read_catalogue(configuration_directory() / "models.toml")
    return {**shipped, **({} if data_dir is None else load_owners_catalogue(data_dir))}
