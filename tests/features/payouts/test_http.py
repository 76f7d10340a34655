"""Payouts by signed requests to the operator's own service, over real TLS."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent.coordinator.features.payouts.adapter import AddressRefused, NotConfigured, Outcome
from agent.coordinator.features.payouts.adapters.http import HttpAdapter
from agent.coordinator.features.payouts.adapters.http_client import RequestFailed
from support.payouts.adapters import NOW, ORIGIN, batch, only, payment, site, stored
from support.servers.payment_service import make_secret
from support.servers.receiver import Receiver

BATCH = batch("http", "EUR")
SECRET = make_secret()


@pytest.fixture(scope="module")
def service():
    with Receiver().running() as service:
        yield service


@pytest.fixture
def call(service, tmp_path):
    """Return a function that sends or polls a transfer and returns the answer."""
    service.received.clear()
    service.answers.clear()
    clock = [NOW]

    def call(*methods, **settings):
        async def run():
            values = {"url": f"https://hooks.example:{service.port}/pay?a=b", "secret": SECRET, **settings}
            adapter = HttpAdapter(site(tmp_path, http=values), lambda: clock[0], service.network())
            try:
                prepared = await adapter.prepare(BATCH, [payment(1, "acct 7", "1.20")], {})
                transfer = stored(prepared.transfers[0], BATCH, [payment(1, "acct 7", "1.20")])
                return [await getattr(adapter, method)(transfer) for method in methods][-1]
            finally:
                await adapter.close()

        clock[0] += 60
        return asyncio.run(run())

    return call


def test_a_request_is_signed_and_repeated_with_the_same_key(call, service):
    service.answers.extend([(202, {}, b""), (200, {}, b'{"status":"confirmed","reference":"tr_9"}')])
    report = only(call("send", "poll"))
    assert (report.outcome, report.reference) == (Outcome.CONFIRMED, "tr_9")
    first, second = service.received
    assert first.path == "/pay?a=b"
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "payout_1"
    data = json.loads(first.body)["data"]
    assert data == {
        "origin": ORIGIN,
        "batch_id": "batch_1",
        "manifest_sha256": data["manifest_sha256"],
        "payout_id": "payout_1",
        "miner_id": "miner_1",
        "address": "acct 7",
        "amount": "1.20",
        "currency": "EUR",
    }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((204, {}, b""), Outcome.SENT),
        ((200, {}, b'{"status":"accepted","more":1}'), Outcome.SENT),
        ((200, {}, b'{"status":"failed","reason":"closed account"}'), Outcome.FAILED),
    ],
)
def test_the_services_answer_decides(call, service, answer, outcome):
    service.answers.append(answer)
    assert only(call("send")).outcome is outcome


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b""),
        (409, {}, b'{"status":"failed"}'),
        (302, {"Location": "https://elsewhere.example/"}, b'{"status":"confirmed"}'),
        (200, {}, b'{"status":"done"}'),
        (200, {}, b"<html>"),
        (200, {}, b"[" * 100_000),
    ],
)
def test_any_other_answer_leaves_the_outcome_open(call, service, answer):
    service.answers.append(answer)
    with pytest.raises(RequestFailed):
        call("send")


def test_private_addresses_need_permission(call, service, tmp_path):
    service.names["inside.example"] = lambda: ["10.0.0.7"]
    url = f"https://inside.example:{service.port}/"
    with pytest.raises(RequestFailed, match="not on the public internet"):
        call("send", url=url)
    assert not service.received
    with pytest.raises(NotConfigured, match=r"`payouts\.http\.allow_private`"):
        call("send", url="https://127.0.0.1/")
    with pytest.raises(NotConfigured, match=r"`payouts\.http\.allow_http`"):
        call("send", url="http://hooks.example/")
    with pytest.raises(NotConfigured, match=r"Set `payouts\.http\.url`"):
        HttpAdapter(site(tmp_path))


def test_addresses_are_short_lines(tmp_path):
    adapter = HttpAdapter(site(tmp_path, http={"url": "https://pay.example/", "secret": SECRET}))
    assert adapter.check_address(" acct 7 ", "EUR") == "acct 7"
    for wrong in ("", "x" * 501, "a\nb"):
        with pytest.raises(AddressRefused):
            adapter.check_address(wrong, "EUR")
