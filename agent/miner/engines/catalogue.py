"""The engines that can be installed: those of the shipped `engines.toml`, and those that an owner adds.

The packages of an environment are those of its lock file, `engines/NAME-VARIANT.txt` next to the `engines.toml` that
declares the engine. `scripts/engine_locks.py` writes these files.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.catalogue import explain_entries
from agent.configuration import configuration_directory, read_document
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.quantities import Bytes
from runners.near_names import hint

FILE_NAME = "engines.toml"

VariantName: TypeAlias = Literal["any", "cpu", "cuda", "vulkan"]


_Driver: TypeAlias = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]


class _VariantEntry(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    python: Annotated[tuple[Annotated[str, Field(pattern=r"^3\.\d+$")], ...], Field(min_length=1)]
    packages: Annotated[tuple[str, ...], Field(min_length=1)]
    size: Annotated[Bytes, Field(gt=0)]
    exclude: tuple[str, ...] = ()
    index: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    libraries: tuple[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*$")], ...
    ] = ()
    compiles: bool = False
    driver: _Driver | None = None
    capability: (
        tuple[Annotated[str, Field(pattern=r"^\d+\.\d+$")], Annotated[str, Field(pattern=r"^\d+\.(\d+|x)$")]]
        | None
    ) = None
    newer_driver: _Driver | None = None
    machines: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], ...] = ()


class Variant(_VariantEntry, defer_build=True):
    """An engine's packages for machines with an NVIDIA driver, with a card of any maker, without one, or for any machine.

    `python` are the versions of Python that the lock file is for, best first; `size` the bytes of the environment on disk;
    `index` a package index that has packages which PyPI lacks. `libraries` are directories below the environment's
    site-packages whose shared libraries the engine loads. `compiles` is whether it needs a C compiler when it runs. `packages` and `exclude` are the input of the lock file: what it pins,
    and what it leaves out although a package requires it.

    `driver` is NVIDIA's oldest driver for it. `capability` has the oldest and the newest compute capability that it has code for ("12.x": all of 12); newer
    cards need `newer_driver`, which compiles its code for them, and cannot use it without one. `machines` are the processors that it exists for, empty for all.
    """

    name: VariantName
    lock: Path

    @property
    def uses_cards(self) -> bool:
        """Whether its packages compute on NVIDIA cards."""
        return self.name == "cuda" or self.capability is not None

    def digest(self) -> str:
        """Return what names an environment of this variant: two lock files never share one. Raises `ConfigurationError`."""
        identity = (self.lock_text(), *self.python, platform.machine())
        return hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]

    def lock_text(self) -> str:
        """Return the lock file's content. Raises `ConfigurationError`."""
        try:
            return self.lock.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"The lock file {self.lock} cannot be read ({error}). Install aitbc-agent again, or write it with uv pip compile."
            ) from None


class _EngineEntry(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name becomes the name of a directory, so it must not be able to escape its parent.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    services: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ...]
    description: Annotated[str, Field(min_length=1)]
    licence: Annotated[str, Field(min_length=1)]
    modules: Annotated[tuple[str, ...], Field(min_length=1)]
    check: Annotated[str, Field(min_length=1)]
    variants: Mapping[VariantName, _VariantEntry]

    @model_validator(mode="after")
    def _has_variants(self) -> Self:
        if not self.variants:
            raise ValueError("an engine needs a variant: any, cpu, cuda or vulkan")
        return self


class InstallableEngine(_EngineEntry, defer_build=True):
    """An engine that can be installed.

    `services` are the ids of those whose runners it serves. `modules` are its Python modules: an environment that has them has
    the engine. `check` is a Python program that ends without an error where the engine works.
    """

    variants: Mapping[VariantName, Variant]

    def variant(self, *, cuda: bool, vulkan: bool = False) -> Variant:
        """Return the variant for a machine with an NVIDIA driver (`cuda`), with another card (`vulkan`), or without."""
        order: tuple[VariantName, ...] = ("cpu", "any", "cuda", "vulkan")
        if cuda:
            order = ("cuda", "vulkan", "any", "cpu")
        elif vulkan:
            order = ("vulkan", "any", "cpu", "cuda")
        declared = [self.variants[name] for name in order if name in self.variants]
        suited = (item for item in declared if not item.machines or platform.machine() in item.machines)
        return next(suited, declared[0])


class _EnginesDocument(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # What `runners.host` imports, in every environment. Only the script that writes the lock files reads it.
    host: tuple[str, ...] = ()
    engines: tuple[_EngineEntry, ...] = ()


def parse_engines(document: Mapping[str, Any], path: Path) -> dict[str, InstallableEngine]:
    """Return the engines of a parsed `engines.toml` at `path`, by name. Raises `ConfigurationError`."""
    try:
        entries = _EnginesDocument.model_validate(dict(document)).engines
    except ValidationError as error:
        raise ConfigurationError(explain_entries(error, path, _EnginesDocument)) from None
    engines: dict[str, InstallableEngine] = {}
    for entry in entries:
        if entry.name in engines:
            raise ConfigurationError(f"{path} contains {entry.name!r} twice; rename one of them.")
        variants = {
            name: Variant.model_construct(
                name=name,
                lock=path.with_name("engines") / f"{entry.name}-{name}.txt",
                **dict(variant),
            )
            for name, variant in entry.variants.items()
        }
        # Its values are valid already.
        engines[entry.name] = InstallableEngine.model_construct(**dict(entry) | {"variants": variants})
    return engines


def load_engines(data_dir: Path | None = None) -> dict[str, InstallableEngine]:
    """Return the engines by name: the shipped ones, and the owner's, which replace those of the same name.

    Raises `ConfigurationError`.
    """
    engines = dict(_shipped(configuration_directory() / FILE_NAME))
    owners = None if data_dir is None else data_dir / FILE_NAME
    if owners is not None and owners.exists():
        engines |= parse_engines(read_document(owners), owners)
    return engines


def find_engine(engines: Mapping[str, InstallableEngine], name: str) -> InstallableEngine:
    """Return the engine of that name. Raises `AgentError`, which suggests the nearest name."""
    if name in engines:
        return engines[name]
    raise AgentError(f"There is no engine {name!r}.{hint(name, list(engines))}.")


@cache
def _shipped(path: Path) -> dict[str, InstallableEngine]:
    return parse_engines(read_document(path), path)


def shown_size(size: int) -> str:
    """Return a size for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
