"""Settings of offers."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class OfferSettings(Section):
    """Limits of miners' offers, in the table `coordinator`."""

    max_offers_per_miner: Annotated[int, Field(ge=1)] = 100
    """Maximum number of open offers that one miner creates, so that a miner in a loop cannot fill the marketplace."""
    max_offer_seconds: Annotated[int, Field(ge=1)] = 30 * 86_400
    """Longest duration of an offer. A month: a price that nobody reviewed for longer is likely out of date."""
    offer_wait_seconds: Annotated[float, Field(gt=0)] = 900
    """How long a job that accepted an offer waits for an offline miner before other miners may claim it. Longer than a reboot with
    a driver update."""


SETTINGS: Final = {"coordinator.*": OfferSettings}
