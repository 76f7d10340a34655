"""The settings that an owner can change while the miner runs, by a command through the coordinator.

A change is written to the settings file, validated with all other settings, and takes effect immediately: new prices with the next
heartbeat, the schedule immediately, and preferred engines as soon as the running jobs have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from agent.configuring.errors import InvalidSettings
from agent.configuring.reading import SettingsReading
from agent.configuring.storing import changed_by_file, store_file
from agent.core.commands import SettingsChange
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_money
from agent.miner.machine.capabilities import Capabilities, lowest_share, price
from agent.miner.settings import EnginesSettings, MinerSettings
from agent.sections import section_of
from agent.settings import Settings

FOREIGN: Final = (
    "This machine works for a coordinator that it does not run itself. To allow changes from there, set "
    "miner.remote_settings = true on the machine, and restart its agent."
)
FORBIDDEN: Final = "The machine's owner has forbidden such changes (miner.remote_settings = false)."
_NO_FILE: Final = "The agent was started without a settings file."
_SCHEDULE: Final = ("miner", "pause", "schedule")
_ENGINES: Final = ("engines", "preferred")

_log = structlog.get_logger(__name__)


class ChangeRefused(Exception):
    """A change was refused, with the reasons for the owner."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


@dataclass(eq=False)
class LiveSettings:
    """The `current` settings. Without a `reading` there is no file to write. `on_change` is called after each change."""

    current: Settings
    reading: SettingsReading | None
    offers: Capabilities
    on_change: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._locked = _locked(self.current, self.reading)

    def change(self, change: SettingsChange) -> None:
        """Write a change to the settings file, and apply it.

        Raises `ChangeRefused`, with the words of `aitbc-agent config check` if the file would not be valid.
        """
        if self._locked is not None or self.reading is None:
            raise ChangeRefused(self._locked or _NO_FILE)
        reading = self._write(self.reading, _values(change))
        written, current = (
            section_of(reading.settings, MinerSettings),
            section_of(self.current, MinerSettings),
        )
        preferred = section_of(reading.settings, EnginesSettings).preferred
        # Other settings of the file, which its owner may have edited meanwhile, apply from the next start.
        pause = current.pause.model_copy(update={"schedule": written.pause.schedule})
        engines = section_of(self.current, EnginesSettings).model_copy(update={"preferred": preferred})
        miner = current.model_copy(update={"prices": written.prices, "pause": pause})
        self.current = self.current.model_copy(update={"miner": miner, "engines": engines})
        _log.info("settings_changed", file=str(reading.file), settings=sorted(map(".".join, _values(change))))
        self.on_change()

    def require_fetching(self) -> None:
        """Raise `ChangeRefused` if the owner forbids a coordinator to have models fetched in advance."""
        # Any other coordinator can cause the same download by a job, so this is allowed unless the owner forbids it.
        if section_of(self.current, MinerSettings).remote_settings is False:
            raise ChangeRefused(FORBIDDEN)

    def require_removal(self) -> None:
        """Raise `ChangeRefused` if the coordinator may not have models removed."""
        refusal = _refusal(section_of(self.current, MinerSettings))
        if refusal is not None:
            raise ChangeRefused(refusal)

    def _write(self, reading: SettingsReading, values: Mapping[tuple[str, ...], Any]) -> SettingsReading:
        try:
            changed, content = changed_by_file(reading, values)
            store_file(reading, content)
        except InvalidSettings as error:
            raise ChangeRefused(*(str(setting_error) for setting_error in error.errors)) from None
        except ConfigurationError as error:
            raise ChangeRefused(str(error)) from None
        except OSError as error:
            raise ChangeRefused(
                f"The settings file {reading.file} cannot be written ({error.strerror}). Change it on the machine."
            ) from None
        return changed

    @property
    def own_coordinator(self) -> bool:
        """Whether this agent runs its coordinator itself."""
        return section_of(self.current, MinerSettings).coordinator is None

    def price(self, service: str) -> str:
        """Return the current price of a unit of an offered service."""
        return price(
            section_of(self.current, MinerSettings), service, self.offers.services[service].suggested_price
        )

    def lowest_share(self, service: str) -> float:
        """Return for which share of its price jobs of batches may run."""
        return lowest_share(section_of(self.current, MinerSettings), service)

    def to_wire(self) -> dict[str, Any]:
        """Return the settings that can be changed, as the capabilities contain them."""
        miner = section_of(self.current, MinerSettings)
        services = self.offers.services
        default = miner.default_price
        return {
            "locked": self._locked,
            "prices": {service: format_money(amount) for service, amount in miner.prices.items()},
            "default_prices": {
                service: offer.suggested_price if default is None else format_money(default)
                for service, offer in services.items()
            },
            "schedule": list(miner.pause.schedule),
            "preferred": list(section_of(self.current, EnginesSettings).preferred),
            "engines": {
                service: [interpreter.engine for interpreter in offer.interpreters]
                for service, offer in services.items()
            },
        }


def _locked(settings: Settings, reading: SettingsReading | None) -> str | None:
    """Return why settings cannot be changed, None if they can."""
    return _NO_FILE if reading is None else _refusal(section_of(settings, MinerSettings))


def _refusal(miner: MinerSettings) -> str | None:
    """Return why a coordinator may change nothing on this machine, None if it may."""
    if miner.remote_settings is None:
        return None if miner.coordinator is None else FOREIGN
    return None if miner.remote_settings else FORBIDDEN


def _values(change: SettingsChange) -> dict[tuple[str, ...], Any]:
    """Return the new values by the path of their keys; None removes a value."""
    values: dict[tuple[str, ...], Any] = {
        ("miner", "prices", service): amount for service, amount in change.prices.items()
    }
    if change.schedule is not None:
        values[_SCHEDULE] = list(change.schedule)
    if change.engines is not None:
        values[_ENGINES] = list(change.engines)
    return values
