"""The owner's own catalogue, DATA_DIR/models.toml: how a command adds to it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agent.configuration import load_catalogue, owners_catalogue_file
from agent.core.errors import ConfigurationError
from agent.core.machine.catalogue import parse_catalogue
from runners.registry import installed

_HEAD: Final = "# Your own models, in the form of the models.toml that is shipped with the program.\n"


def files(urls: Sequence[str], digests: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """The files of an entry. Raises `ConfigurationError` unless each address has its digest."""
    if len(digests) != len(urls) or len(names) not in (0, len(urls)):
        raise ConfigurationError("Give one --sha256 for each --url, and one --file for each or none at all.")
    chosen = names or [url.rstrip("/").rpartition("/")[2].partition("?")[0] for url in urls]
    return [
        {"name": name, "url": url, "sha256": digest.lower()}
        for name, url, digest in zip(chosen, urls, digests, strict=True)
    ]


def options(words: Sequence[str]) -> dict[str, Any]:
    """The `options` of an entry from words like `steps=4`. Raises `ConfigurationError`."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise ConfigurationError(f"--option {word}: write NAME=JSON, for example steps=4.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def add(data_dir: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Append an entry to the owner's file, and return it. What is there stays as it is, comments included.

    Raises `ConfigurationError` if the entry is wrong, or if the file has one of that name.
    """
    path = owners_catalogue_file(data_dir)
    name, service = entry["name"], entry["service"]
    if service not in installed():
        raise ConfigurationError(
            f"There is no service {service}. There are: {', '.join(sorted(installed()))}."
        )
    if not {"repository", "files", "path"} & entry.keys():
        raise ConfigurationError(
            "Say where the model comes from: --repository, --url with --sha256, or --path."
        )
    if "path" in entry and not Path(entry["path"]).expanduser().is_dir():
        raise ConfigurationError(f"There is no directory {entry['path']}.")
    written = {**entry, "engines": entry["engines"] or _engines(data_dir, service)}
    if "path" in entry:
        written["path"] = str(Path(entry["path"]).expanduser().absolute())
    parse_catalogue({"models": [written]}, f"What you gave for {name}")
    text = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    text = f"{text.rstrip()}\n\n{_block(written)}"
    try:
        parse_catalogue(tomllib.loads(text), str(path))
    except ValueError as error:  # options that TOML cannot hold, such as null
        raise ConfigurationError(f"{path} could not be read with this entry in it: {error}") from None
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return written


def _engines(data_dir: Path, service: str) -> list[str]:
    known = [entry.engines for entry in load_catalogue(data_dir).values() if entry.service == service]
    return list(known[0]) if known else [installed()[service].name]


def _block(entry: Mapping[str, Any]) -> str:
    lines = [f"{_toml(key)} = {_toml(value)}" for key, value in entry.items()]
    return "\n".join(["[[models]]", *lines, ""])


def _toml(value: Any) -> str:
    """A value in TOML, on one line. Strings of JSON are strings of TOML but for one character."""
    match value:
        case Mapping():
            inside = ", ".join(
                f"{_toml(key)} = {_toml(item)}" for key, item in value.items() if item is not None
            )
            return f"{{{inside}}}"
        case list() | tuple():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case _:
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
