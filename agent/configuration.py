"""Finds and reads the files that come with the program: today the catalogue of models.

They lie in `agent/configs` of an installed package and in `configs` of a checkout.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from agent.core.catalogue import CatalogueEntry, parse_catalogue
from agent.core.errors import ConfigurationError


def configuration_directory() -> Path:
    """Where the shipped configuration lies. Raises `ConfigurationError` if the installation is incomplete."""
    package = Path(__file__).parent
    for directory in (package / "configs", package.parent / "configs"):
        if (directory / "models.toml").is_file():
            return directory
    raise ConfigurationError("models.toml is missing from this installation; install aitbc-agent again.")


@cache
def _read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return parse_catalogue(document)


def load_catalogue() -> dict[str, CatalogueEntry]:
    """The models that jobs may name, by name. Raises `ConfigurationError`.

    The file is read once in the life of the process; every caller gets a dictionary of its own.
    """
    return dict(_read_catalogue(configuration_directory() / "models.toml"))
