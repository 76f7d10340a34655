"""Prices for services that no installed runner provides: a spelling mistake that would otherwise stay without effect and without a word."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from runners.near_names import nearest
from runners.registry import GROUP, installed


def unknown_services(priced: Iterable[str]) -> dict[str, str]:
    """Return what to write instead of each of these services that does not exist."""
    names = {point.name for point in entry_points(group=GROUP)}
    # The runners of other packages may be named otherwise than their services, and are imported only then.
    if names.issuperset(priced) or (names := set(installed())).issuperset(priced):
        return {}
    return {service: _advice(service, sorted(names)) for service in priced if service not in names}


def _advice(service: str, names: list[str]) -> str:
    similar = nearest(service, names)
    return f"There are {', '.join(names)}." if similar is None else f"Write {similar}."
