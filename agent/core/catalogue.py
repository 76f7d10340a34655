"""The catalogue of models: which names a job may use, and what stands behind each.

A name is all that a request can say about a model, so that no client reaches a path or a repository of its own choice.
This module only reads the document; `agent.configuration` finds the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.errors import ConfigurationError
from agent.core.quantities import Bytes


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model.

    `engines` are the programs that can load it, best first. `repository` is where it can be downloaded, None if only
    the machine's owner can put it there. `vram` and `memory` are what it takes on a GPU and on a CPU, in bytes.
    """

    name: str
    service: str
    engines: tuple[str, ...]
    repository: str | None
    vram: int
    memory: int
    licence: str
    description: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name becomes the name of a directory, so it must never be able to leave its parent.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    service: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    engines: Annotated[tuple[str, ...], Field(min_length=1)]
    repository: Annotated[str, Field(min_length=1)] | None = None
    vram: Bytes = Bytes(0)
    memory: Bytes = Bytes(0)
    licence: Annotated[str, Field(min_length=1)]
    description: str = ""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[_Entry, ...]


def parse_catalogue(document: Mapping[str, Any]) -> dict[str, CatalogueEntry]:
    """The entries of a parsed `models.toml` by name, in the document's order.

    Raises `ConfigurationError` with one line per fault, also when two entries have one name.
    """
    try:
        entries = _Document.model_validate(dict(document)).models
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(fault) for fault in error.errors())) from None
    catalogue: dict[str, CatalogueEntry] = {}
    for entry in entries:
        if entry.name in catalogue:
            raise ConfigurationError(
                f"The catalogue of models names {entry.name!r} twice; rename one of them."
            )
        catalogue[entry.name] = CatalogueEntry(**entry.model_dump())
    return catalogue


def _explain(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    return f"The catalogue of models is wrong at {place}: {fault['msg']}"
