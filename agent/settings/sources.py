"""Where settings are written: the TOML file and the environment, each with what cannot be read of it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings, EnvSettingsSource

from agent.core.errors import ConfigurationError
from agent.core.values.near_names import nearest
from agent.settings.description import Setting
from agent.settings.faults import Fault, Origin

PREFIX: Final = "AITBC_"
_FOREIGN: Final = frozenset({"AITBC_API_KEY", "AITBC_BASE_URL", "AITBC_FAULT_POINTS"})
"""Variables that share our prefix without being settings of the agent: the SDK's, and the one of `agent.fault_points`."""
_MOST_LINES: Final = 2000
"""Longer files are read, but lines are not looked for in them: each costs another reading of all before it."""
_PLACE: Final = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_WORDS: Final = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_NOTHING: Final = frozenset({"none", "null", "nil"})
_AT_END: Final = " (at end of document)"

Json = dict[str, Any]


@dataclass(frozen=True)
class SettingsFile:
    """A TOML file: its values, and the faults that keep it from having any."""

    path: Path
    text: str = ""
    values: Json = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        """The line at which each key begins.

        A file is cut off after each of its lines in turn. Where that can be read, a statement ends; what is new in it
        began after the statement before.
        """
        found: dict[tuple[str, ...], int] = {}
        lines = self.text.splitlines(keepends=True)
        if len(lines) > _MOST_LINES:
            return found
        begun = 1
        for count in range(1, len(lines) + 1):
            try:
                values = tomllib.loads("".join(lines[:count]))
            except ValueError:
                continue
            for path in _paths(values):
                found.setdefault(path, begun)
            begun = count + 1
        return found

    def line(self, path: tuple[str, ...]) -> int | None:
        """The line of a key, or of what it stands in."""
        return next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), None)


def _paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def read_file(path: Path) -> SettingsFile:
    """Read a file, if it is there. Raises `ConfigurationError` if it may not be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return SettingsFile(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_file(path, content)


def parse_file(path: Path, content: bytes) -> SettingsFile:
    """The settings in the content of a file. What is wrong with it stands in `faults`, with its line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n")
        fault = Fault("", "this is not text in UTF-8.", None, Origin("file", str(path), before + 1))
        return SettingsFile(path, faults=(fault,))
    text = text.replace("\r\n", "\n")
    try:
        return SettingsFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        return SettingsFile(path, text, faults=(_syntax(path, text, str(error)),))
    except (ValueError, RecursionError):  # tomllib refuses neither by its own error
        fault = Fault(
            "",
            "it holds a number of thousands of digits, or values nested hundreds deep.",
            None,
            Origin("file", str(path), 1),
        )
        return SettingsFile(path, text, faults=(fault,))


def _syntax(path: Path, text: str, message: str) -> Fault:
    lines = text.splitlines() or [""]
    match = _PLACE.fullmatch(message)
    number = min(int(match[2]), len(lines)) if match else len(lines)
    told = match[1] if match else message.removesuffix(_AT_END)
    line = lines[number - 1]
    key, told, suggestion = _reading(line, told)
    return Fault(key, told, suggestion, Origin("file", str(path), number))


def _reading(line: str, told: str) -> tuple[str, str, str | None]:
    """The key of a line that is no TOML, what is wrong with it, and what to write."""
    key, _, value = (part.strip() for part in line.partition("="))
    if told == "Cannot overwrite a value":
        return key, "it is set twice in the same section.", "Keep one of the two lines."
    if told.startswith("Cannot declare"):
        return (
            "",
            f"the section {line.strip()} is there twice.",
            "Put its settings below the first of the two.",
        )
    refused = f"this is not TOML: {told[:1].lower()}{told[1:]}."
    if match := re.fullmatch(r"\s*([\w.-]+)\s*:\s*(.*)", line):
        return match[1], refused, f"Write an = between name and value: {match[1]} = {match[2] or '...'}"
    suggestion = _rewriting(key, value.partition(" #")[0].strip())
    return key if suggestion else "", refused, suggestion


def _rewriting(key: str, value: str) -> str | None:
    if word := _WORDS.get(value.lower()):
        return f"Write {key} = {word}"
    if value.lower() in _NOTHING:
        return f"Remove the line: what has no value is not written, and {key} then has its default."
    if re.fullmatch(r"[^\"'\[{]+", value):
        return f"Text and sizes stand in quotes: {key} = {json.dumps(value)}"
    return None


@dataclass(frozen=True)
class Environment:
    """The environment: its values, and the variables that are wrong by themselves."""

    values: Json
    names: Mapping[str, str]
    """The variables as they are written, by their names in lower case."""
    faults: tuple[Fault, ...]


def read_environment(model: type[BaseSettings], settings: Mapping[str, Setting]) -> Environment:
    """Read what begins with `AITBC_`, in any case."""
    known = {setting.variable: setting for setting in settings.values()}
    open_ended = tuple(f"{name}__" for name, it in known.items() if dict in it.form.types)
    names = {name.upper(): name for name in sorted(os.environ) if name.upper().startswith(PREFIX)}
    faults = [
        fault
        for upper, name in names.items()
        if upper not in _FOREIGN and not upper.startswith(open_ended)
        for fault in _variable(name, known.get(upper), list(known))
    ]
    refused = {fault.key.upper() for fault in faults}
    source = EnvSettingsSource(model)
    source.env_vars = {
        name.lower(): os.environ[name] for upper, name in names.items() if upper not in refused
    }
    values: Json = source()
    return Environment(values, {name.lower(): name for name in names.values()}, tuple(faults))


def _variable(name: str, setting: Setting | None, known: list[str]) -> Iterator[Fault]:
    origin = Origin("environment", name)
    if setting is None:
        near = nearest(name.upper(), known)
        yield Fault(name, "this names no setting.", f"Did you mean {near}?" if near else None, origin)
    elif setting.form.many or dict in setting.form.types:
        try:
            json.loads(os.environ[name])
        except ValueError:
            kind = "list" if setting.form.many else "table"
            parts = [part.strip() for part in os.environ[name].split(",")]
            sample = json.dumps(parts) if setting.form.many else "{...}"
            yield Fault(
                name, f"a {kind} in a variable is written as JSON.", f"Write {name}='{sample}'", origin
            )
