"""Reads the TOML file and the environment, collects the errors that prevent reading them, and merges them with the flags."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from agent.configuring.description import Setting, variable
from agent.configuring.errors import Origin, SettingError, missing_extension
from agent.core.errors import ConfigurationError
from runners.near_names import nearest

PREFIX: Final = "AITBC_"
_FOREIGN: Final = frozenset({"AITBC_API_KEY", "AITBC_BASE_URL", "AITBC_CONFIG_DIR", "AITBC_FAULT_POINTS"})
"""Variables with the prefix of settings that are none: the SDK's, and that of `agent.fault_points`."""
_MOST_LINES: Final = 2000
"""In longer files line numbers are not determined, since each line requires parsing all lines before it again."""
_LINE: Final = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_WORDS: Final = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_NOTHING: Final = frozenset({"none", "null", "nil"})
_AT_END: Final = " (at end of document)"

Json = dict[str, Any]


@dataclass(frozen=True)
class SettingsFile:
    """A TOML file: its values, or the errors that prevent reading it."""

    path: Path
    text: str = ""
    values: Json = field(default_factory=dict)
    errors: tuple[SettingError, ...] = ()

    @cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        """The line at which each key begins.

        Parses the first line, the first two lines and so on. A prefix that can be parsed ends with a complete statement;
        the keys that are new in it began after the statement before.
        """
        first_lines: dict[tuple[str, ...], int] = {}
        lines = self.text.splitlines(keepends=True)
        if len(lines) > _MOST_LINES:
            return first_lines
        begun = 1
        for count in range(1, len(lines) + 1):
            try:
                # A statement over several lines cannot be parsed before its last one, so a prefix that can be parsed ends where a statement does.
                values = tomllib.loads("".join(lines[:count]))
            except ValueError:
                continue
            for path in _paths(values):
                first_lines.setdefault(path, begun)
            begun = count + 1
        return first_lines

    def line(self, path: tuple[str, ...]) -> int | None:
        """Return the line of a key, or else of its nearest ancestor."""
        return next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), None)


def _paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def read_file(path: Path) -> SettingsFile:
    """Read a file if it exists. Raises `ConfigurationError` if it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return SettingsFile(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_file(path, content)


def parse_file(path: Path, content: bytes) -> SettingsFile:
    """Parse the content of a file. Syntax errors are in `errors`, with their lines."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines_before = error.object[: error.start].count(b"\n")
        refused = SettingError(
            "", "this is not UTF-8 text.", None, Origin("file", str(path), lines_before + 1)
        )
        return SettingsFile(path, errors=(refused,))
    # As a text editor on Windows writes it. The parser takes it, but its lines are compared with others below.
    text = text.replace("\r\n", "\n")
    try:
        return SettingsFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        return SettingsFile(path, text, errors=(_syntax_error(path, text, str(error)),))
    except (ValueError, RecursionError):  # tomllib has no error of its own for these
        refused = SettingError(
            "",
            "the file contains a number of thousands of digits, or values nested hundreds of levels deep.",
            None,
            Origin("file", str(path), 1),
        )
        return SettingsFile(path, text, errors=(refused,))


def _syntax_error(path: Path, text: str, message: str) -> SettingError:
    lines = text.splitlines() or [""]
    match = _LINE.fullmatch(message)
    number = min(int(match[2]), len(lines)) if match else len(lines)
    reason = match[1] if match else message.removesuffix(_AT_END)
    key, words, suggestion = _explained(lines[number - 1], reason)
    return SettingError(key, words, suggestion, Origin("file", str(path), number))


def _explained(line: str, reason: str) -> tuple[str, str, str | None]:
    """Return the key of a line that is not TOML, the message, and what to write instead."""
    # The parser's own words name a column, which helps nobody who has forgotten the quotes.
    key, _, value = (part.strip() for part in line.partition("="))
    if reason == "Cannot overwrite a value":
        return key, "it is set twice in the same section.", "Keep one of the two lines."
    if reason.startswith("Cannot declare"):
        return (
            "",
            f"the section {line.strip()} is defined twice.",
            "Move its settings below the first definition.",
        )
    refused = f"this is not TOML: {reason[:1].lower()}{reason[1:]}."
    if match := re.fullmatch(r"\s*([\w.-]+)\s*:\s*(.*)", line):
        return match[1], refused, f"Write = between name and value: {match[1]} = {match[2] or '...'}"
    suggestion = _rewriting(key, value.partition(" #")[0].strip())
    return key if suggestion else "", refused, suggestion


def _rewriting(key: str, value: str) -> str | None:
    if word := _WORDS.get(value.lower()):
        return f"Write {key} = {word}"
    if value.lower() in _NOTHING:
        return f"Remove the line to use the default of {key}."
    if re.fullmatch(r"[^\"'\[{]+", value):
        return f"Put text and sizes in quotes: {key} = {json.dumps(value)}"
    return None


@dataclass(frozen=True)
class EnvironmentValues:
    """The environment: its values, and the errors of variables that cannot be read."""

    values: Json = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """The variables as they are written, by their names in upper case."""
    errors: tuple[SettingError, ...] = ()


def read_environment(settings: Mapping[str, Setting]) -> EnvironmentValues:
    """Read the variables that begin with `AITBC_`, in any case. An empty one counts as not set: Compose and systemd pass them on."""
    by_variable = {setting.variable: setting for setting in settings.values()}
    # A table by name may have any entry, so variables below it cannot be compared with a list.
    open_ended = tuple(f"{name}__" for name, setting in by_variable.items() if dict in setting.form.types)
    names = {name.upper(): name for name in sorted(os.environ) if name.upper().startswith(PREFIX)}
    # All variables are looked at, so that each error is reported and not only the first.
    errors = [
        error
        for upper, name in names.items()
        if upper not in _FOREIGN and not upper.startswith(open_ended)
        for error in _variable_errors(name, by_variable.get(upper), list(by_variable))
    ]
    refused = {error.key.upper() for error in errors}
    variables = {
        upper: os.environ[name]
        for upper, name in names.items()
        if upper not in refused and upper not in _FOREIGN and os.environ[name]
    }
    return EnvironmentValues(_nested(variables, by_variable), names, tuple(errors))


def _nested(variables: Mapping[str, str], by_variable: Mapping[str, Setting]) -> Json:
    """Return the values of variables as nested tables."""
    values: Json = {}
    # In this order, the variable of a whole table precedes those of its entries.
    for name, text in sorted(variables.items()):
        *above, last = name.removeprefix(PREFIX).lower().split("__")
        table = values
        for part in above:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[last] = _value(text, by_variable.get(name))
    return values


def _value(text: str, setting: Setting | None) -> Any:
    """Return a list or a table, which a variable has as JSON; other text is left to the validation of the model."""
    if setting is not None and not _is_json(setting):
        return text
    with suppress(ValueError):
        value = json.loads(text)
        # Not numbers: the entry of a table may be text of digits.
        return value if isinstance(value, list | dict) else text
    return text


def _is_json(setting: Setting) -> bool:
    return setting.form.is_list or dict in setting.form.types


def _key(variable: str) -> str:
    """Return the dotted name of a setting, as its section's may be, from its variable."""
    return variable.removeprefix(PREFIX).lower().replace("__", ".")


def _variable_errors(name: str, setting: Setting | None, variables: list[str]) -> Iterator[SettingError]:
    origin = Origin("environment", name)
    if setting is None and (remedy := missing_extension(_key(name))) is not None:
        yield SettingError(name, *remedy, origin)
    elif setting is None:
        near = nearest(name.upper(), variables)
        suggestion = f"Did you mean {near}?" if near else None
        yield SettingError(name, "there is no such setting.", suggestion, origin)
    elif os.environ[name] and _is_json(setting):
        try:
            json.loads(os.environ[name])
        except ValueError:
            kind = "list" if setting.form.is_list else "table"
            parts = [part.strip() for part in os.environ[name].split(",")]
            sample = json.dumps(parts) if setting.form.is_list else "{...}"
            yield SettingError(
                name, f"a {kind} in a variable must be JSON.", f"Write {name}='{sample}'", origin
            )


@dataclass(frozen=True)
class Sources:
    """All sources, by descending precedence."""

    flags: Mapping[str, Any]
    environment: EnvironmentValues
    file: SettingsFile

    def merged(self) -> Json:
        """Return the merged values. Tables are merged entry by entry."""
        return _over(_over(self.file.values, self.environment.values), self.flags)

    def origin(self, path: tuple[str, ...]) -> Origin:
        """Return where the value at a path was set."""
        if _has(self.flags, path):
            return Origin("flag")
        if _has(self.environment.values, path):
            return Origin("environment", self._variable(path))
        if _has(self.file.values, path):
            return Origin("file", str(self.file.path), self.file.line(path))
        return Origin("default")

    def _variable(self, path: tuple[str, ...]) -> str:
        """Return the variable of a path, or else of its nearest ancestor that a variable sets, or else the first one below it."""
        names = self.environment.names
        for length in range(len(path), 0, -1):
            if (name := names.get(variable(".".join(path[:length])))) is not None:
                return name
        # The path may be a section of which a variable sets only a part.
        below = f"{variable('.'.join(path))}__"
        return next((name for upper, name in names.items() if upper.startswith(below)), f"{PREFIX}...")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Json:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True
