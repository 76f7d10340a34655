"""Adds models to the owner's own catalogue, DATA_DIR/models.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.atomic_file import replace_file
from agent.catalogue import load_catalogue, owners_catalogue_file, parse_catalogue
from agent.core.errors import ConfigurationError
from runners.registry import installed

_HEAD: Final = "# Your own models, in the same form as the models.toml that is shipped with the program."


def files(urls: Sequence[str], digests: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the files of an entry. Raises `ConfigurationError` unless each URL has its digest."""
    if len(digests) != len(urls) or len(names) not in (0, len(urls)):
        raise ConfigurationError("Give one --sha256 for each --url, and one --file for each or none at all.")
    chosen = names or [url.rstrip("/").rpartition("/")[2].partition("?")[0] for url in urls]
    return [
        {"name": name, "url": url, "sha256": digest.lower()}
        for name, url, digest in zip(chosen, urls, digests, strict=True)
    ]


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse arguments like `steps=4` into the `options` of an entry. Raises `ConfigurationError`."""
    parsed: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not name or not equals:
            raise ConfigurationError(f"--option {argument}: write NAME=JSON, for example steps=4.")
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            parsed[name] = text
    return parsed


def is_path(text: str) -> bool:
    """Return whether an argument is the path of a file or directory rather than a name."""
    return text.startswith(("/", "./", "../", "~")) or text.endswith(".gguf") or Path(text).exists()


def validate(entry: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` if an entry, which may lack what can be computed, is invalid."""
    service = entry.get("service")
    if service is None:
        raise ConfigurationError("Give --service, for example --service llm_inference.")
    if service not in installed():
        raise ConfigurationError(
            f"There is no service {service}. The installed services are: {', '.join(sorted(installed()))}."
        )
    if entry.get("kind") == "adapter" and installed()[service].definition.adapters is None:
        raise ConfigurationError(f"{service} has no adapters. Leave out --adapter.")
    if not {"repository", "files", "path", "own_files"} & entry.keys():
        raise ConfigurationError(
            "The source of the model is missing. Give the path of a GGUF file or directory, --repository, or --url with --sha256."
        )
    complete = {"engines": ["any"], "licence": "unknown", **entry}
    complete.pop("own_files", None)
    parse_catalogue({"models": [complete]}, f"The entry for {entry['name']}")


def add(data_dir: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Append an entry to the owner's file and return it. The existing lines stay as they are, comments included.

    Raises `ConfigurationError` if the entry is invalid, or if the file already has one of that name.
    """
    path = owners_catalogue_file(data_dir)
    validate(entry)
    written: dict[str, Any] = {"name": entry["name"], "licence": "unknown", **entry}
    written.pop("own_files", None)
    written["engines"] = entry.get("engines") or _engines(data_dir, written)
    _require_memory(written)
    try:
        content = _appended(path, written)
        parse_catalogue(tomllib.loads(content.decode()), str(path))
    except ValueError as error:  # options that TOML or JSON cannot hold, such as null
        raise ConfigurationError(f"The entry cannot be written to {path}: {error}") from None
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, content)
    return written


def remove(data_dir: Path, name: str) -> None:
    """Remove an entry from the owner's file. The other lines stay as they are."""
    import tomlkit  # noqa: PLC0415 - the other commands of the group start faster without it

    path = owners_catalogue_file(data_dir)
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    entries = document["models"]
    for index in reversed([index for index, entry in enumerate(entries) if entry["name"] == name]):
        del entries[index]
    if not entries:
        del document["models"]
    replace_file(path, tomlkit.dumps(document).encode())


def _require_memory(entry: dict[str, Any]) -> None:
    """Complete the memory of an entry: a model without any would be placed where it does not fit. Raises `ConfigurationError`."""
    if entry.get("kind") == "adapter":
        return
    given = [entry[field] for field in ("memory", "vram") if field in entry]
    if not given:
        raise ConfigurationError(
            "Give --memory and --vram: without the model's files they cannot be computed."
        )
    entry.setdefault("memory", given[0])
    entry.setdefault("vram", given[0])


def _engines(data_dir: Path, entry: Mapping[str, Any]) -> list[str]:
    """Return the engines of the service that can load the files of an entry."""
    service = entry["service"]
    engine_lists = [model.engines for model in load_catalogue(data_dir).values() if model.service == service]
    engines = list(dict.fromkeys(engine for engines in engine_lists for engine in engines))
    names = [
        str(entry.get("repository", "")),
        *entry.get("patterns", ()),
        *(file["name"] for file in entry.get("files", ())),
    ]
    is_gguf = any("gguf" in name.casefold() for name in names)
    if "llama.cpp" in engines:
        engines = (
            ["llama.cpp"] if is_gguf else [engine for engine in engines if engine != "llama.cpp"] or engines
        )
    return engines or [installed()[service].name]


def _appended(path: Path, entry: Mapping[str, Any]) -> bytes:
    import tomlkit  # noqa: PLC0415 - the other commands of the group start faster without it

    # TOML can hold NaN, JSON cannot.
    json.dumps(entry, allow_nan=False)
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    document = tomlkit.parse(f"{text.rstrip()}\n\n")
    document.setdefault("models", tomlkit.aot()).append(dict(entry))
    return tomlkit.dumps(document).encode()
