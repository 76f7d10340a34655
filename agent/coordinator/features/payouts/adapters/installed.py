"""The adapters that the settings name: those of this folder, and those of the entry-point group `aitbc.payouts`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import structlog

from agent.coordinator.features.payouts.adapter import GROUP, Adapter, NotConfigured, Site
from agent.sections import EXTENSIONS
from runners.extras import extra_command

log = structlog.get_logger()

OWN: Final = (
    EntryPoint("file", f"{__package__}.file:FileAdapter", GROUP),
    EntryPoint("http", f"{__package__}.http:HttpAdapter", GROUP),
)


@dataclass(frozen=True, slots=True)
class Adapters:
    """Adapters by name, and why others that the settings name cannot be used."""

    usable: Mapping[str, Adapter] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)


def open_adapters(site: Site) -> Adapters:
    """Return the adapters in `payouts.adapters`. One that cannot be used disables only itself."""
    usable: dict[str, Adapter] = {}
    faults: dict[str, str] = {}
    for name in site.settings.adapters:
        try:
            usable[name] = _open(name, site)
        except NotConfigured as error:
            faults[name] = str(error)
        except Exception as error:  # noqa: BLE001 - a broken third-party package must not stop the coordinator
            faults[name] = (
                f"The adapter {name} cannot be loaded ({error}); reinstall its package, or remove it from payouts.adapters."
            )
    for name, fault in faults.items():
        log.warning("payout_adapter_unusable", adapter=name, reason=fault)
    return Adapters(usable, faults)


def _open(name: str, site: Site) -> Adapter:
    provided = {*OWN, *entry_points(group=GROUP)}
    points = sorted((point for point in provided if point.name == name), key=lambda point: point.value)
    if not points:
        provided_names = ", ".join(sorted({point.name for point in provided}))
        extra = EXTENSIONS.get(f"payouts.{name}")
        remedy = "" if extra is None else f" Install it: {extra_command(extra)}."
        raise NotConfigured(
            f"No installed package provides the payout adapter {name}. Installed: {provided_names}.{remedy}"
        )
    # Which of two packages pays must not depend on the order in which they were installed.
    if len(points) > 1:
        raise NotConfigured(
            f"The payout adapter {name} is provided by both {points[0].value} and {points[1].value}; uninstall one of them."
        )
    adapter: Adapter = points[0].load()(site)
    return adapter
