"""The catalogue of models: the names that a job may use, and the source of each model.

A request can only name a model, so that no client reaches a path or a repository of its choice. An owner
adds models of this machine, in a file of the data directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.configuration import configuration_directory, read_document
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import Bytes
from runners.validation_errors import field_errors

DEFAULT_PATTERNS: Final = (
    "*.safetensors",
    "*.gguf",
    "*.json",
    "*.txt",
    "*.jinja",
    "*.tiktoken",
    "*tokenizer.model",
    "*spiece.model",
)
"""The default patterns of a repository's files: weights without code, and vocabularies."""

REFUSED_SUFFIXES: Final = (
    ".bin", ".ckpt", ".h5", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".py",
)  # fmt: skip
"""Files that are never downloaded from a repository, because loading them may run code that they contain."""

CTRANSLATE2_WEIGHTS: Final = "model.bin"
"""The weights of CTranslate2, whose format contains only numbers. faster-whisper's models may name this file as a pattern."""

_CTRANSLATE2_ENGINE: Final = "faster-whisper"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model with its own URL.

    `name` is its path in the model's directory, `sha256` the hex digest of its content, `size` its bytes if known. Only the
    `engine` needs it; None for a file that every engine needs.
    """

    name: str
    url: str
    sha256: str
    size: int | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True)
class Addition:
    """Files of another repository that belong to a model: those of its `revision` that match one of the `patterns`."""

    repository: str
    patterns: tuple[str, ...]
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model.

    `engines` are the programs that can load it, best first. It is downloaded as `files` if there are any, or else as the files
    of the Hugging Face repository, at its `revision`, that match one of the `patterns`, with the `additions`; `digests` has the
    SHA-256 that files of the repository must have, by name. `gated` repositories give their files only to accounts that have
    accepted their terms; `size` is about the bytes of a download. `path` is a directory of this machine that already contains
    it. With none of these, only the machine's owner can provide it. `vram` and `memory` are the bytes
    that it needs on a GPU and on a CPU; `vram_min` is its need on a GPU when it saves memory at the cost of time, and `load_memory` the
    main memory that it needs besides the GPU's, which is highest while it loads. An `adapter`
    changes another model of its service (LoRA) and cannot run on its own. A model with a `base` is that model with an adapter: its files are
    the adapter's, and both share the weights of the base. `options` are the model's settings for its runner; `lacks` names
    features of its service that the model itself is known not to have, such as "vision".
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
    load_memory: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    patterns: tuple[str, ...] = DEFAULT_PATTERNS
    digests: Mapping[str, str] = field(default_factory=dict)
    additions: tuple[Addition, ...] = ()
    gated: bool = False
    size: int | None = None
    files: tuple[ModelFile, ...] = ()
    path: str | None = None
    lacks: tuple[str, ...] = ()
    base: str | None = None
    verified: bool = True
    """Whether the entry was compared with its source."""

    def for_engine(self, is_installed: Callable[[str], bool]) -> CatalogueEntry:
        """Return the entry with only the files for the best installed engine.

        If there are none, they are in the repository. Without an installed engine, the best one counts.
        """
        # Without an installed engine the answer still shows what would be downloaded.
        best = next((engine for engine in self.engines if is_installed(engine)), self.engines[0])
        files = tuple(file for file in self.files if file.engine in (None, best))
        return self if files == self.files else replace(self, files=files)

    @property
    def needed(self) -> frozenset[str]:
        """The names of files without which the model is not complete, as far as the catalogue knows them."""
        return frozenset(file.name for file in self.files) if self.files else frozenset(self.digests)

    @property
    def source(self) -> str:
        """The server from which the model is downloaded."""
        return urlsplit(self.files[0].url).netloc if self.files else "the Hugging Face Hub"

    @property
    def fetchable(self) -> bool:
        """Whether the model can be downloaded."""
        return self.path is None and (bool(self.files) or self.repository is not None)


def is_included(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a repository's file belongs to a model with these patterns. `name` is a path with slashes.

    Names that could escape the model's directory, and hidden files, never do; nor do files that could run code.
    """
    # The name comes from a repository of a stranger, and becomes a path on this machine.
    if any(part.startswith(".") or not part for part in name.split("/")) or "\\" in name or "\0" in name:
        return False
    if name.lower().endswith(REFUSED_SUFFIXES):
        return name == CTRANSLATE2_WEIGHTS and name in patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class _DeclaredFile(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$")]
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/\S+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[Bytes, Field(ge=0)] | None = None
    engine: str | None = None


_Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
_Revision = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
_Patterns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class _DeclaredAddition(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: _Repository
    patterns: _Patterns
    revision: _Revision | None = None


class _DeclaredModel(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name becomes the name of a directory, so it must not be able to escape its parent.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    service: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    engines: Annotated[tuple[str, ...], Field(min_length=1)]
    repository: _Repository | None = None
    vram: Bytes = Bytes(0)
    memory: Bytes = Bytes(0)
    vram_min: Bytes | None = None
    load_memory: Bytes = Bytes(0)
    licence: Annotated[str, Field(min_length=1)]
    description: str = ""
    kind: Literal["model", "adapter"] = "model"
    options: dict[str, Any] = {}
    digests: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}
    revision: _Revision | None = None
    patterns: _Patterns = DEFAULT_PATTERNS
    additions: tuple[_DeclaredAddition, ...] = ()
    gated: bool = False
    size: Annotated[Bytes, Field(ge=0)] | None = None
    files: tuple[_DeclaredFile, ...] = ()
    path: Annotated[str, Field(pattern=r"^/")] | None = None
    lacks: tuple[Annotated[str, Field(pattern=r"^[a-z_]+$")], ...] = ()
    verified: bool = True
    base: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _least_vram(self) -> Self:
        if self.vram_min is not None and self.vram_min > self.vram:
            raise ValueError("vram_min is larger than vram")
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.path is not None and (self.files or self.repository is not None):
            raise ValueError("path is a directory of this machine; leave out repository and files")
        needing = (
            self.revision is not None
            or self.patterns != DEFAULT_PATTERNS
            or self.digests
            or self.additions
            or self.gated
        )
        if self.repository is None and needing:
            raise ValueError(
                "revision, patterns, digests, additions and gated need a repository; add one or remove them"
            )
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two files have the same name")
        if any(file.engine not in (None, *self.engines) for file in self.files):
            raise ValueError("a file's engine is not one of the model's engines")
        for pattern in (
            *self.patterns,
            *(extra for addition in self.additions for extra in addition.patterns),
        ):
            # Only for the engine that reads numbers from it; another one might unpickle a file of this name.
            allowed = pattern == CTRANSLATE2_WEIGHTS and _CTRANSLATE2_ENGINE in self.engines
            if pattern.lower().endswith(REFUSED_SUFFIXES) and not allowed:
                raise ValueError(
                    f"the pattern {pattern!r} matches files that may run code when they are loaded; "
                    "list such a file under files, with its SHA-256"
                )
        return self


class _CatalogueDocument(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[_DeclaredModel, ...] = ()


def parse_catalogue(
    document: Mapping[str, Any], source: str = "The catalogue of models"
) -> dict[str, CatalogueEntry]:
    """Return the entries of a parsed `models.toml` by name, in the document's order. `source` is its name in errors.

    Raises `ConfigurationError` with one line for each error, and if two entries have the same name.
    """
    try:
        entries = _CatalogueDocument.model_validate(dict(document)).models
    except ValidationError as error:
        raise ConfigurationError(explain_entries(error, source, _CatalogueDocument)) from None
    catalogue: dict[str, CatalogueEntry] = {}
    for entry in entries:
        if entry.name in catalogue:
            raise ConfigurationError(f"{source} contains {entry.name!r} twice; rename one of them.")
        values = entry.model_dump()
        least = entry.vram if entry.vram_min is None else entry.vram_min
        files = tuple(ModelFile(**file.model_dump()) for file in entry.files)
        additions = tuple(Addition(**addition.model_dump()) for addition in entry.additions)
        catalogue[entry.name] = CatalogueEntry(
            **{**values, "vram_min": least, "files": files, "additions": additions}
        )
    return catalogue


def explain_entries(error: ValidationError, source: object, document: type[BaseModel]) -> str:
    """Return what is wrong with the entries of a catalogue, one line for each wrong field."""
    sentences = field_errors(error, model=document)
    return "\n".join(f"{source} is invalid at {field}: {sentence}" for field, sentence in sentences.items())


@cache
def _read_catalogue(path: Path) -> dict[str, CatalogueEntry]:
    return parse_catalogue(read_document(path))


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
