"""The price of electricity: a number, a number by the time of the week, or the answer of an address."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent.miner.energy.tariff import MAX_ANSWER, Tariff
from agent.miner.settings import EnergySettings
from miner_support.daemons import until

pytestmark = pytest.mark.anyio

NOON, NIGHT = datetime.fromisoformat("2026-12-01T12:00"), datetime.fromisoformat("2026-12-01T23:00")


class Exchange(ThreadingHTTPServer):
    """A real server whose `answer` a test sets: a status and a body."""

    answer = (200, b"0.25")
    asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/price?key=secret"


class _Handler(BaseHTTPRequestHandler):
    server: Exchange

    def do_GET(self) -> None:
        self.server.asked += 1
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


async def asked(settings: EnergySettings, last: float | None = None) -> tuple[Tariff, list[float]]:
    """Ask the address once."""
    prices: list[float] = []
    tariff = Tariff(settings, last, prices.append)
    task = asyncio.create_task(tariff.run())
    await until(lambda: prices or tariff.problem is not None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return tariff, prices


def test_a_window_of_the_tariff_takes_precedence_while_it_lasts() -> None:
    tariff = Tariff(
        EnergySettings.model_validate({"price": 0.3, "tariff": {"22:00-06:00": 0.18}}), None, print
    )
    assert (tariff.now(NOON), tariff.now(NIGHT)) == (0.3, 0.18)
    assert Tariff(EnergySettings(), None, print).now(NOON) is None


@pytest.mark.parametrize(
    ("body", "path", "factor", "price"),
    [
        (b"0.25", "", 1, 0.25),
        (b'{"data": [{"price": "-12.5"}]}', "data.0.price", 0.001, -0.0125),
    ],
)
async def test_an_address_answers_the_price(
    exchange: Exchange, body: bytes, path: str, factor: float, price: float
) -> None:
    exchange.answer = (200, body)
    settings = EnergySettings(price=9, price_url=exchange.url, price_path=path, price_factor=factor)
    tariff, prices = await asked(settings)
    assert tariff.now(NOON) == pytest.approx(price)
    assert prices == [pytest.approx(price)]
    assert tariff.problem is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, b"0.1"), "500"),
        ((200, b"<html>"), "neither a number nor JSON"),
        ((200, b'{"price": 1}'), "price_path"),
        ((200, b"true"), "no number"),
        ((200, b"1e9"), "no price"),
        ((200, b"1" * (MAX_ANSWER + 1)), "bytes"),
    ],
)
async def test_the_last_price_remains_while_the_address_fails(
    exchange: Exchange, answer: tuple[int, bytes], words: str
) -> None:
    """Without an earlier answer, the price of the settings applies."""
    exchange.answer = answer
    settings = EnergySettings(price=0.4, price_url=exchange.url)
    tariff, prices = await asked(settings, last=0.2)
    assert (tariff.now(NOON), prices) == (0.2, [])
    assert tariff.problem is not None
    assert words in tariff.problem
    assert "secret" not in tariff.problem
    assert exchange.asked == 1
    tariff, _ = await asked(settings)
    assert tariff.now(NOON) == 0.4
