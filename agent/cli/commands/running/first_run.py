"""The questions of the first start on a terminal: what only the owner knows. The answers are written to the settings file.

A question is left out if its setting is in the file, a variable or a flag. Without a terminal, and once the agent has been started with a data
directory, nothing is asked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import typer

from agent.cli.commands.running.join import check_code, join_values
from agent.configuring.reading import SettingsReading, settings_by_key
from agent.configuring.storing import changed_by_file, store_file
from agent.core.errors import ConfigurationError
from agent.protocol.join_code import parse_join_code
from agent.updates.installation import installation

_PRICES: Final = ("miner.energy.price", "miner.energy.tariff", "miner.energy.price_url")
_AUTOMATIC: Final = "updates.automatic"
_PRICE: Final = re.compile(r"(-?\d+(?:[.,]\d+)?)(?: *([A-Za-z]{3}))?")

_Values = Mapping[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class _Question:
    """`values_of` returns the settings of an answer, or raises `ConfigurationError`."""

    text: str
    default: str
    values_of: Callable[[SettingsReading, str], _Values]


def ask_owner(reading: SettingsReading) -> SettingsReading:
    """Ask what the settings do not say, and return them with the answers. Raises `ConfigurationError` if these cannot be written."""
    if (
        not (sys.stdin.isatty() and sys.stdout.isatty())
        or (reading.settings.data_dir / "agent.lock").exists()
    ):
        return reading
    questions = _questions(reading)
    if not questions:
        return reading
    typer.echo(
        f"The first start on this machine. Enter takes the default; answers can be changed in {reading.file}."
    )
    # All or none: an interrupted start asks again.
    values: dict[tuple[str, ...], Any] = {}
    for question in questions:
        values |= _ask(reading, question)
    if not values:
        return reading
    changed, content = changed_by_file(reading, values)
    try:
        store_file(reading, content)
    except OSError as error:
        raise ConfigurationError(f"{reading.file} cannot be written: {error.strerror}.") from None
    return changed


def _questions(reading: SettingsReading) -> list[_Question]:
    unset = reading.origins.keys().isdisjoint
    questions = []
    if unset({"miner.coordinator"}):
        text = "Work for a coordinator? Paste the join code that its operator gave you. Alone: this machine runs its own."
        questions.append(_Question(text, "alone", _joined))
    if unset(_PRICES):
        text = "What does a kilowatt-hour cost, for example 0.30 EUR? Earnings are then shown less the electricity."
        questions.append(_Question(text, "unknown", _price))
    setting = settings_by_key().get(_AUTOMATIC)
    if setting is not None and unset({_AUTOMATIC}) and installation().updates_itself:
        text = "May the agent update itself: off, night, or idle (whenever no job runs)?"
        questions.append(_Question(text, str(setting.value_in(reading.settings)), _automatic))
    return questions


def _joined(reading: SettingsReading, answer: str) -> _Values:
    if answer == "alone":
        return {}
    code = parse_join_code(answer)
    values = join_values(code)
    check_code(changed_by_file(reading, values)[0], code)
    return values


def _price(reading: SettingsReading, answer: str) -> _Values:
    if answer == "unknown":
        return {}
    match = _PRICE.fullmatch(answer)
    if match is None:
        raise ConfigurationError("Type a number such as 0.30, with the currency if you like (0.30 EUR).")
    amount, currency = float(match[1].replace(",", ".")), match[2]
    values: dict[tuple[str, ...], Any] = {("miner", "energy", "price"): amount}
    if currency is not None and "miner.energy.currency" not in reading.origins:
        values["miner", "energy", "currency"] = currency.upper()
    return values


def _automatic(_reading: SettingsReading, answer: str) -> _Values:
    return {tuple(_AUTOMATIC.split(".")): answer.lower()}


def _ask(reading: SettingsReading, question: _Question) -> _Values:
    typer.echo(f"\n{question.text}")
    while True:
        answer = typer.prompt(
            f"[{question.default}]", question.default, show_default=False, prompt_suffix=" > "
        ).strip()
        try:
            values = question.values_of(reading, answer)
            # What the settings refuse is asked again.
            changed_by_file(reading, values)
        except ConfigurationError as error:
            typer.echo(f"{error}\nTry again, or press Enter.")
        else:
            return values
