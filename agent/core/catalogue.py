"""The catalogue of models: which names a job may use, and what stands behind each.

A name is all that a request can say about a model, so that no client reaches a path or a repository of its own choice.
This module only reads the document; `agent.configuration` finds the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.core.errors import ConfigurationError
from agent.core.quantities import Bytes


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model.

    `engines` are the programs that can load it, best first. `repository` is where it can be downloaded, None if only
    the machine's owner can put it there. `vram` and `memory` are what it takes on a GPU and on a CPU, in bytes;
    `vram_min` is what it takes on a GPU when it saves memory at the cost of time. An `adapter` changes another model of
    its service (LoRA) and cannot run by itself. `options` are the model's own settings for its runner.
    """

    name: str
    service: str
    engines: tuple[str, ...]
    repository: str | None
    vram: int
    memory: int
    vram_min: int
    licence: str
    description: str
    kind: Literal["model", "adapter"] = "model"
    options: Mapping[str, Any] = field(default_factory=dict)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name becomes the name of a directory, so it must never be able to leave its parent.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    service: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    engines: Annotated[tuple[str, ...], Field(min_length=1)]
    repository: Annotated[str, Field(min_length=1)] | None = None
    vram: Bytes = Bytes(0)
    memory: Bytes = Bytes(0)
    vram_min: Bytes | None = None
    licence: Annotated[str, Field(min_length=1)]
    description: str = ""
    kind: Literal["model", "adapter"] = "model"
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _least_vram(self) -> Self:
        if self.vram_min is not None and self.vram_min > self.vram:
            raise ValueError("vram_min is more than vram")
        return self


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
        values = entry.model_dump()
        least = entry.vram if entry.vram_min is None else entry.vram_min
        catalogue[entry.name] = CatalogueEntry(**{**values, "vram_min": least})
    return catalogue


def _explain(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    return f"The catalogue of models is wrong at {place}: {fault['msg']}"
