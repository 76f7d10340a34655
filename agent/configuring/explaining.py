"""Translates pydantic's validation errors into messages for the author of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agent.configuring.corrections import correction, meant
from agent.configuring.description import Setting, describe
from agent.configuring.errors import Origin, SettingError, missing_extension

_LONGEST: Final = 60
"""Maximum number of characters of an invalid value in a message."""


@dataclass(frozen=True)
class Declared:
    """The declared settings by key, and the names of the sections."""

    settings: Mapping[str, Setting]
    sections: Sequence[str]


def explain(
    error: ValidationError, origin_of: Callable[[tuple[str, ...]], Origin], declared: Declared
) -> Iterator[SettingError]:
    """Yield one error for each invalid value. `origin_of` returns where the value at a path was set."""
    reported: set[tuple[str, ...]] = set()
    for details in error.errors(include_url=False):
        path = tuple(str(part) for part in details["loc"])
        # The settings of a table's entry exist only under its name, so they are not among the declared ones.
        nearby = _with_entry(path, declared)
        setting = _setting(path, nearby)
        key_path = path if setting is None else tuple(setting.key.split("."))
        if setting is not None and dict in setting.form.types:
            key_path = path[: len(key_path) + 1]
        # A setting of several types has an error for each of them, but one explanation is enough.
        if key_path in reported:
            continue
        reported.add(key_path)
        message, suggestion = _words(details, ".".join(path), setting, nearby, origin_of(key_path))
        yield SettingError(".".join(key_path), message, suggestion, origin_of(key_path))


def _with_entry(path: tuple[str, ...], declared: Declared) -> Declared:
    """Return the declared settings, extended by those of a table's entry if the path leads into one."""
    setting = _setting(path, declared)
    if setting is None or setting.form.table is None:
        return declared
    length = setting.key.count(".") + 2
    if len(path) <= length or path[length] == "[key]":
        return declared
    prefix = f"{'.'.join(path[:length])}."
    below = {entry.key: entry for entry in describe(setting.form.table, prefix)}
    further_settings = {key: entry for key, entry in declared.settings.items() if key != setting.key}
    return Declared(
        {**further_settings, **below}, [*declared.sections, *{entry.section for entry in below.values()}]
    )


def _setting(path: tuple[str, ...], declared: Declared) -> Setting | None:
    keys = (".".join(path[:length]) for length in range(len(path), 0, -1))
    return next((declared.settings[key] for key in keys if key in declared.settings), None)


def _words(
    details: ErrorDetails, key: str, setting: Setting | None, declared: Declared, origin: Origin
) -> tuple[str, str | None]:
    """Return the message and the suggestion."""
    value = details["input"]
    if details["type"] == "extra_forbidden" and setting is None:
        # It is no spelling mistake: the table exists as soon as the extension is installed.
        if (remedy := missing_extension(key)) is not None:
            return remedy
        kind = "section" if isinstance(value, dict) else "setting"
        return f"there is no such {kind}.", meant(key, value, declared.settings, declared.sections)
    if setting is None:
        return _section(details, key, declared)
    reason = details["msg"].removeprefix("Value error, ").rstrip(".")
    ours = details["type"] == "value_error"
    allowed = f"Allowed: {setting.form.words}." if setting.form.words else None
    # Not even a part of the value: these messages end in logs.
    if setting.secret:
        return "this value is not allowed.", allowed
    message = f"{reason}." if ours else f"{_shown(value)} is not allowed."
    inside = tuple(str(part) for part in details["loc"][setting.key.count(".") + 1 :])
    return message, " ".join(filter(None, ("" if ours else allowed, _write(setting, inside, value, origin))))


def _section(details: ErrorDetails, key: str, declared: Declared) -> tuple[str, str | None]:
    if key in declared.sections and not isinstance(details["input"], dict):
        return (
            "this is a section, not a setting.",
            f"Write [{key}] on a line of its own, and its settings below it.",
        )
    return f"{details['msg'].removeprefix('Value error, ').rstrip('.')}.", None


def _write(setting: Setting, inside: tuple[str, ...], value: Any, origin: Origin) -> str | None:
    """Return how to write the value. `inside` is its path within the setting, if that is a list or a table."""
    if setting.form.is_list and inside:
        better = correction(replace(setting, form=replace(setting.form, is_list=False)), value)
        return better and f"Write {better} instead."
    better = correction(setting, value)
    if better is None:
        return None
    if origin.source == "environment":
        return f"Write {origin.location}={better}"
    return f"Write {inside[-1] if inside else setting.name} = {better}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
