"""The price of a kilowatt-hour: a number, a number for times of the week, or what an address on the network answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import httpx
import orjson
import structlog

from agent.miner.schedules import parse_window
from agent.miner.settings import EnergySettings

MAX_ANSWER: Final = 2**20
"""Bytes of an answer that are read. The prices of two days in JSON take less than a tenth."""
HIGHEST: Final = 1000.0

_log = structlog.get_logger(__name__)


class PriceUnreadable(Exception):
    """The address answered something else than a price."""


class Tariff:
    """`now` is the current price. With an address in the settings, `run` asks it; `on_price` is called with each answer.

    `last` is the answer of an earlier run of the program, None without one. `problem` states why the address does not answer.
    """

    def __init__(
        self, settings: EnergySettings, last: float | None, on_price: Callable[[float], None]
    ) -> None:
        self._settings = settings
        self._windows = [(parse_window(window), price) for window, price in settings.tariff.items()]
        self._fetched = last if settings.price_url else None
        self._on_price = on_price
        self.problem: str | None = None

    def now(self, moment: datetime) -> float | None:
        """Return the price at a moment of local time, None if nobody states one."""
        if self._fetched is not None:
            return self._fetched
        for window, price in self._windows:
            if window.end_of(moment) is not None:
                return price
        return self._settings.price

    async def run(self) -> None:
        """Ask the address until cancelled; return at once without one."""
        while self._settings.price_url is not None:
            try:
                price = await self._ask(self._settings.price_url)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError, PriceUnreadable) as error:
                self.problem = f"miner.energy.price_url: {_words(error)}"
                _log.warning("electricity_price_unknown", problem=self.problem, used=self._fetched)
            else:
                self.problem = None
                self._fetched = price
                self._on_price(price)
            await asyncio.sleep(self._settings.price_seconds)

    async def _ask(self, url: str) -> float:
        """Return the price. Raises `httpx.HTTPError`, `TimeoutError`, `PriceUnreadable`."""
        content = b""
        async with (
            asyncio.timeout(self._settings.price_timeout_seconds),
            httpx.AsyncClient(timeout=self._settings.price_timeout_seconds, follow_redirects=True) as client,
            client.stream("GET", url, headers={"User-Agent": "aitbc-agent"}) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise PriceUnreadable(f"its answer has more than {MAX_ANSWER} bytes")
        return price_in(content, self._settings.price_path) * self._settings.price_factor


def _words(error: Exception) -> str:
    """Return what went wrong, without the address, which may contain a secret."""
    match error:
        case PriceUnreadable():
            return str(error)
        case httpx.HTTPStatusError():
            return f"it answers {error.response.status_code}"
        case _:
            return f"it cannot be reached ({type(error).__name__})"


def price_in(content: bytes, path: str) -> float:
    """Return the number at `path` ("data.0.price") of an answer. Raises `PriceUnreadable`."""
    try:
        value: Any = orjson.loads(content)
    except ValueError:
        raise PriceUnreadable("its answer is neither a number nor JSON") from None
    for step in filter(None, path.split(".")):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise PriceUnreadable(f"its answer has no {step!r} of miner.energy.price_path ({path})") from None
    if isinstance(value, str):
        # Some services write numbers in quotes, so that they stay exact.
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PriceUnreadable(
            "what it answers is no number; set miner.energy.price_path to where the price is"
        )
    if not math.isfinite(value) or abs(value) > HIGHEST * HIGHEST:
        raise PriceUnreadable(f"{value!r} is no price")
    return float(value)
