"""Guesses the intended value of an invalid setting and shows how to write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

from agent.configuring.description import Setting, written
from agent.core.values.quantities import Bytes, Money, parse_money
from agent.sections import WordedText
from runners.near_names import nearest

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)(?:b|bytes?)?\s*", re.IGNORECASE)
_SPAN: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_SECONDS: Final = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86_400,
    "day": 86_400,
}
_MAX_SECTIONS: Final = 3
_BOOLEANS: Final = ("true", "false")


def correction(setting: Setting, value: Any) -> str | None:
    """Return the value as it must be written in a TOML file, or None if it cannot be guessed."""
    form = setting.form
    # A single value is the most frequent mistake in a list.
    if form.is_list:
        return None if isinstance(value, list | dict) else _as_list(value)
    if isinstance(value, list):
        return correction(setting, value[0]) or written(value[0]) if len(value) == 1 else None
    if form.choices:
        near = nearest(str(value).lower(), form.choices)
        return None if near is None else written(near)
    if form.unit == "seconds" and isinstance(value, str):
        return _seconds(value)
    worded = next(
        (kind for kind in form.types if isinstance(kind, type) and issubclass(kind, WordedText)), None
    )
    if worded is not None:
        similar = worded.similar(value)
        return None if similar is None else written(similar)
    return next((guess(value) for kind, guess in _GUESSES if kind in form.types), None)


def _as_list(value: Any) -> str:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
    return written(parts)


def _size(value: Any) -> str | None:
    match = _SIZE.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        return None
    number, prefix, binary = match.groups()
    # "8g" almost always means gibibytes; "8G" is a valid quantity, and stays as it is.
    suffix = f"{prefix.upper()}i" if prefix and (binary or prefix.islower()) else prefix.upper()
    text = f"{number}{'k' if suffix == 'K' else suffix}"
    with suppress(ValueError):
        Bytes(text)
        return written(text)
    return None


def _money(value: Any) -> str | None:
    if isinstance(value, bool | dict):
        return None
    text = format(Decimal(str(value)), "f") if isinstance(value, int | float) else str(value)
    # One comma is a decimal comma; several separate thousands.
    text = re.sub(r"[^\d.]", "", text.replace(",", ".") if text.count(",") == 1 else text)
    with suppress(ValueError):
        parse_money(text)
        return written(text)
    return None


def _seconds(value: str) -> str | None:
    match = _SPAN.fullmatch(value)
    if match is None:
        return None
    if match[2].lower() == "ms":
        return str(float(match[1]) / 1000)
    seconds = _unit(match[2])
    return None if seconds is None else f"{float(match[1]) * seconds:g}"


def _unit(word: str) -> int | None:
    word = word.lower()
    return _SECONDS.get(word) or _SECONDS.get(word.removesuffix("s"))


def _boolean(value: Any) -> str | None:
    return nearest(str(value).lower(), _BOOLEANS)


def _text(value: Any) -> str | None:
    return written(str(value)) if isinstance(value, int | float) else None


_GUESSES: Final[tuple[tuple[type, Callable[[Any], str | None]], ...]] = (
    (bool, _boolean), (Bytes, _size), (Money, _money), (dict, _money), (str, _text),
)  # fmt: skip


def meant(key: str, value: Any, settings: Mapping[str, Setting], sections: Sequence[str]) -> str | None:
    """Return a sentence that suggests the setting or section which an unknown name most likely stands for."""
    if isinstance(value, dict):
        near = nearest(key, sections)
        return f"Did you mean [{near}]?" if near else None
    section, _, name = key.rpartition(".")
    of_same_name = [setting for setting in settings.values() if setting.name == name]
    # A right name in the wrong section is more likely than a wrong name. A name that many sections have says nothing.
    if 0 < len(of_same_name) <= _MAX_SECTIONS:
        sections_of_same = (
            f"in [{setting.section}]" if setting.section else "above all sections" for setting in of_same_name
        )
        return f"It belongs {' or '.join(sections_of_same)}: {' or '.join(setting.key for setting in of_same_name)}."
    beside = {setting.name: setting.key for setting in settings.values() if setting.section == section}
    near = nearest(name, list(beside))
    meant_key = beside[near] if near else nearest(key, list(settings))
    return f"Did you mean {meant_key}?" if meant_key else None
