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


def add(data_dir: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Append an entry to the owner's file and return it. The existing lines stay as they are, comments included.

    Raises `ConfigurationError` if the entry is invalid, or if the file already has one of that name.
    """
    path = owners_catalogue_file(data_dir)
    name, service = entry["name"], entry["service"]
    if service not in installed():
        raise ConfigurationError(
            f"There is no service {service}. The installed services are: {', '.join(sorted(installed()))}."
        )
    if not {"repository", "files", "path"} & entry.keys():
        raise ConfigurationError(
            "The source of the model is missing. Give --repository, --url with --sha256, or --path."
        )
    if "path" in entry and not Path(entry["path"]).expanduser().is_dir():
        raise ConfigurationError(f"There is no directory {entry['path']}.")
    written = {**entry, "engines": entry["engines"] or _engines(data_dir, service)}
    if "path" in entry:
        written["path"] = str(Path(entry["path"]).expanduser().absolute())
    parse_catalogue({"models": [written]}, f"The entry for {name}")
    try:
        content = _appended(path, written)
        parse_catalogue(tomllib.loads(content.decode()), str(path))
    except ValueError as error:  # options that TOML or JSON cannot hold, such as null
        raise ConfigurationError(f"The entry cannot be written to {path}: {error}") from None
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(path, content)
    return written


def _engines(data_dir: Path, service: str) -> list[str]:
    engine_lists = [entry.engines for entry in load_catalogue(data_dir).values() if entry.service == service]
    return list(engine_lists[0]) if engine_lists else [installed()[service].name]


def _appended(path: Path, entry: Mapping[str, Any]) -> bytes:
    import tomlkit  # noqa: PLC0415 - the other commands of the group start faster without it

    # TOML can hold NaN, JSON cannot.
    json.dumps(entry, allow_nan=False)
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    document = tomlkit.parse(f"{text.rstrip()}\n\n")
    document.setdefault("models", tomlkit.aot()).append(dict(entry))
    return tomlkit.dumps(document).encode()
