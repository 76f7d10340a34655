"""Whether an engine's packages can use the cards of this machine: what they were built for, against what the driver reports.

A card or a driver that is too old fails each job of the engine, or the engine computes on the processor without a word.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from agent.miner.engines.catalogue import InstallableEngine, Variant
from agent.miner.engines.environments import EngineEnvironment

Wanted: TypeAlias = Literal["auto", "cpu", "cuda", "vulkan"]

_ANY_MINOR: Final = 1000


class Card(Protocol):
    """A card, as NVML describes it."""

    @property
    def uuid(self) -> str: ...  # noqa: D102 - see the class

    @property
    def number(self) -> str: ...  # noqa: D102 - its index, for people

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def driver(self) -> str: ...  # noqa: D102 - the version

    @property
    def compute_capability(self) -> str | None: ...  # noqa: D102 - such as "8.9"; None if unknown


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an engine cannot use a card. `reason` also says what to do; `of_driver`: whether another driver is enough."""

    reason: str
    of_driver: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant for a machine.

    `obstacle` states why it does not use the machine's cards, or, if the engine must not be installed, why and what to do. `forced`: whether
    the owner chose packages that do not suit the cards.
    """

    variant: Variant
    obstacle: str | None = None
    refused: bool = False
    forced: bool = False


def obstacle(engine: str, variant: Variant, card: Card) -> Obstacle | None:
    """Return why the packages of an engine cannot use a card; None if nothing speaks against it."""
    if card.compute_capability is not None and variant.capability is not None:
        capability = _version(card.compute_capability)
        oldest, newest = variant.capability
        this_card = f"GPU {card.number} ({card.name}, compute capability {card.compute_capability})"
        if capability < _version(oldest):
            return Obstacle(
                f"{this_card} is too old for {engine}, which needs {oldest}. Use another engine for the service "
                "(aitbc-agent engines list), or another card."
            )
        if capability > _version(newest):
            if variant.newer_driver is None:
                return Obstacle(
                    f"{this_card} is too new for {engine}, which has code for cards up to {newest}. Install a newer agent."
                )
            if (too_old := _old_driver(engine, card, variant.newer_driver, f" on {this_card}")) is not None:
                return too_old
    return None if variant.driver is None else _old_driver(engine, card, variant.driver)


def environment_obstacle(
    engine: InstallableEngine, environment: EngineEnvironment, card: Card
) -> Obstacle | None:
    """Return why an installed engine cannot use a card of NVIDIA; None if nothing speaks against it."""
    record = environment.record
    if record.variant == "cpu":
        for_card = engine.variant(cuda=True)
        if for_card.name == "cpu":
            return Obstacle(f"{engine.name} computes on the processor: it has no packages for cards here.")
        return obstacle(engine.name, for_card, card) or Obstacle(
            f"{engine.name} is installed for the processor. For the card: aitbc-agent engines install {engine.name}."
        )
    variant = engine.variants.get(record.variant)
    return None if variant is None or record.forced else obstacle(engine.name, variant, card)


def choose(
    engine: InstallableEngine, cards: Sequence[Card], wanted: Wanted = "auto", *, vulkan: bool = False
) -> Choice:
    """Return the variant of an engine for a machine with these cards of NVIDIA; `vulkan`: whether it has others.

    With "auto", an engine for which the cards are too old is chosen for the processor, and refused if a newer driver would be enough. Any
    other wish of the owner's is granted if there are such packages.
    """
    auto = wanted == "auto"
    vulkan = wanted == "vulkan" or (auto and vulkan)
    chosen = engine.variant(cuda=wanted == "cuda" or (auto and bool(cards)), vulkan=vulkan)
    machine = platform.machine()
    if chosen.machines and machine not in chosen.machines:
        reason = f"{engine.name} does not exist for {machine}. Use another engine for its services (aitbc-agent engines list)."
        return Choice(chosen, reason, refused=True)
    obstacles = [obstacle(engine.name, chosen, card) for card in cards]
    first = None if None in obstacles else next(iter(obstacles), None)
    if wanted != "auto":
        return Choice(chosen, forced=first is not None)
    if first is None:
        missing = bool(cards) and "cuda" in engine.variants and chosen.name == "cpu"
        reason = f"{engine.name} has no packages for cards on {machine}, so it computes on the processor."
        return Choice(chosen, reason if missing else None)
    for_processor = engine.variant(cuda=False, vulkan=vulkan)
    if first.of_driver or for_processor.name == "cuda":
        other = " The packages for the processor: --variant cpu." if "cpu" in engine.variants else ""
        return Choice(
            chosen, f"{first.reason} To install it nevertheless: --variant cuda.{other}", refused=True
        )
    return Choice(for_processor, f"{first.reason} It computes on the processor.")


def card_for(engine: str, variant: Variant | None, cards: Sequence[Card]) -> Card | None:
    """Return the card on which an engine should prove that it works; None if it uses none."""
    if variant is None or not variant.uses_cards:
        return None
    suitable = [card for card in cards if obstacle(engine, variant, card) is None]
    # An engine for cards must use one, also where the owner has installed it against advice.
    return next(iter([*suitable, *(cards if variant.name == "cuda" else ())]), None)


def older(driver: str, than: str) -> bool:
    """Return whether a driver has a lower version than another one."""
    return _numbers(driver) < _numbers(than)


def _old_driver(engine: str, card: Card, least: str, on: str = "") -> Obstacle | None:
    if not older(card.driver, least):
        return None
    reason = (
        f"The NVIDIA driver {card.driver} is too old for {engine}{on}: update the driver to {least} or newer."
    )
    return Obstacle(reason, of_driver=True)


def _version(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), _ANY_MINOR if minor == "x" else int(minor)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
