"""A Core Lightning node as far as payouts use it: `getinfo`, `listpays` and `pay` over a real Unix socket, and invoices of its peers.

It pays each payment hash at most once, as a node does, and can fail, hang and hang up.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import bolt11
from bolt11 import Bolt11, MilliSatoshi, Tag, TagChar, Tags
from coincurve import PrivateKey

from agent.coordinator.features.payouts.adapter import Payment

PRIVATE_KEY = "7d" * 32
PAYEE = PrivateKey.from_hex(PRIVATE_KEY).public_key.format().hex()
DAY = 86_400


def invoice(
    msat: int | None,
    description: str,
    *,
    date: float,
    number: int = 1,
    expiry: int = DAY,
    currency: str = "bcrt",
    key: str = PRIVATE_KEY,
) -> str:
    """Return a signed invoice. Different numbers have different payment hashes."""
    tags = Tags(
        [
            Tag(TagChar.payment_hash, sha256(f"preimage {number}".encode()).hexdigest()),
            Tag(TagChar.payment_secret, "11" * 32),
            Tag(TagChar.description, description),
            Tag(TagChar.expire_time, expiry),
        ]
    )
    amount = None if msat is None else MilliSatoshi(msat)
    return str(bolt11.encode(Bolt11(currency, int(date), tags, amount), key))


def invoice_of(payment: Payment) -> str:
    """Return an invoice for what a payment waits for."""
    number = int.from_bytes(payment.payout_id.encode()[-16:], "big")
    return invoice(int(payment.amount * 10**11), payment.payout_id, date=time.time(), number=number)


class Behaviour(Enum):
    """What `pay` does next, instead of paying at once."""

    NO_ROUTE = "no route"
    PENDING = "pending"
    """It answers that parts are under way; `settle` completes them."""
    PAY_AND_HANG_UP = "pay and hang up"
    """It pays, but the caller gets no answer."""


class LightningNode:
    """A node at a socket."""

    def __init__(self, path: Path, network: str = "regtest") -> None:
        self.path = path
        self.network = network
        self.behaviours: deque[Behaviour] = deque()
        self.default: Behaviour | None = None
        """What `pay` does when `behaviours` is empty."""
        self.settles_when_asked = False
        """Whether `listpays` completes what is pending."""
        self.pays: dict[str, str] = {}
        """Status by payment hash."""
        self.paid: Counter[str] = Counter()
        """Number of completed payments by payment hash."""
        self.calls: list[str] = []

    @contextmanager
    def running(self) -> Iterator[LightningNode]:
        loop = asyncio.new_event_loop()
        started = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_unix_server(self._answer, self.path)
            started.set()
            async with server:
                await asyncio.Event().wait()

        task = loop.create_task(serve())
        thread = threading.Thread(target=_until_cancelled, args=(loop, task), daemon=True)
        thread.start()
        assert started.wait(60)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(60)
            loop.close()
            self.path.unlink(missing_ok=True)

    def settle(self, payment_hash: str, status: str = "complete") -> None:
        """End a pending payment."""
        assert self.pays[payment_hash] == "pending"
        self.pays[payment_hash] = status
        self.paid[payment_hash] += status == "complete"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder, text = json.JSONDecoder(), ""
        while chunk := await reader.read(65_536):
            text += chunk.decode()
            try:
                request, _ = decoder.raw_decode(text)
            except ValueError:
                continue
            text = ""
            self.calls.append(request["method"])
            answer = getattr(self, f"_{request['method']}")(request["params"])
            if answer is None:
                break
            writer.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode() + b"\n\n")
            await writer.drain()
        writer.close()

    def _getinfo(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"result": {"network": self.network}}

    def _listpays(self, parameters: dict[str, Any]) -> dict[str, Any]:
        payment_hash = parameters["payment_hash"]
        status = self.pays.get(payment_hash)
        if status == "pending" and self.settles_when_asked:
            self.settle(payment_hash)
            status = "complete"
        return {"result": {"pays": [] if status is None else [_pay(payment_hash, status)]}}

    def _pay(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        payment_hash = bolt11.decode(parameters["bolt11"]).payment_hash
        assert str(parameters["maxfee"]).endswith("msat")
        status = self.pays.get(payment_hash)
        if status == "pending":
            return {"error": {"code": 200, "message": "Payment is pending"}}
        behaviour = None
        if status != "complete":
            behaviour = self.behaviours.popleft() if self.behaviours else self.default
        match behaviour:
            case Behaviour.NO_ROUTE:
                self.pays[payment_hash] = "failed"
                return {"error": {"code": 205, "message": "Ran out of routes to try"}}
            case Behaviour.PENDING:
                self.pays[payment_hash] = "pending"
            case _ if status != "complete":
                self.pays[payment_hash] = "complete"
                self.paid[payment_hash] += 1
        if behaviour is Behaviour.PAY_AND_HANG_UP:
            return None
        pay = _pay(payment_hash, self.pays[payment_hash])
        return {"result": {"status": pay["status"], "payment_preimage": pay.get("preimage", "")}}


def _pay(payment_hash: str, status: str) -> dict[str, str]:
    preimage = {"preimage": f"preimage of {payment_hash}"} if status == "complete" else {}
    return {"payment_hash": payment_hash, "status": status, **preimage}


def _until_cancelled(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
