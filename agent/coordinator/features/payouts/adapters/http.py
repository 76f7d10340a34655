"""Asks the operator's own service to make each payment, by signed requests that can be repeated (Standard Webhooks 1.0.0).

The service answers 2xx with `{"status": "accepted" | "confirmed" | "failed", "reference": ..., "reason": ...}`. The same request
is repeated until the answer is final, always with the same `Idempotency-Key`: it asks for the payment and for its status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks import Webhook

from agent.coordinator.features.payouts.adapter import (
    AddressRefused,
    Answer,
    BatchInfo,
    NewTransfer,
    NotConfigured,
    Outcome,
    Payment,
    Prepared,
    Report,
    Site,
    Transfer,
    WithoutHandIns,
)
from agent.coordinator.features.payouts.adapters.http_client import RequestFailed, Response, ServiceClient
from agent.fault_points import reach
from agent.network import Network
from aitbc.canonical import canonical_json, sha256_hex

MAX_ADDRESS: Final = 500
OUTCOMES: Final = {"accepted": Outcome.SENT, "confirmed": Outcome.CONFIRMED, "failed": Outcome.FAILED}


class ServiceAnswer(BaseModel, defer_build=True):
    """What the operator's service answers. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["accepted", "confirmed", "failed"] = "accepted"
    reference: str = Field(default="", max_length=200)
    reason: str = Field(default="", max_length=500)


class HttpAdapter(WithoutHandIns):
    """Sends one request for each payment, and repeats it until the service reports the outcome."""

    name = "http"
    by_hand = False

    def __init__(
        self, site: Site, clock: Callable[[], float] = time.time, network: Network | None = None
    ) -> None:
        settings = site.settings.http
        for value, setting in ((settings.url, "url"), (settings.secret, "secret")):
            if value is None:
                raise NotConfigured(f"Set `payouts.http.{setting}` to use the adapter `http`.")
        self.currencies: Mapping[str, int] = {settings.currency: settings.decimals}
        self._origin = site.origin
        self._clock = clock
        self._webhook = Webhook(settings.secret or "")
        self._client = ServiceClient(
            settings.url or "",
            "payouts.http.url",
            allow_http=settings.allow_http,
            allow_private=settings.allow_private,
            seconds=settings.timeout_seconds,
            network=network,
        )

    def check_address(self, address: str, currency: str) -> str:  # noqa: ARG002 - the same for all currencies
        """Return the address without surrounding spaces; the service knows its format. Raises `AddressRefused`."""
        text = address.strip()
        if not text or len(text) > MAX_ADDRESS or not text.isprintable():
            raise AddressRefused(f"An address is 1 to {MAX_ADDRESS} printable characters on one line.")
        return text

    async def prepare(
        self,
        batch: BatchInfo,
        payments: Sequence[Payment],
        nonces: Mapping[str, int],  # noqa: ARG002 - requests have no nonces
    ) -> Prepared:
        """Return one transfer for each payment, whose content is the body of the request."""
        return Prepared(
            tuple(
                NewTransfer((payment.payout_id,), self._body(batch, payment), payment.payout_id)
                for payment in payments
            )
        )

    async def send(self, transfer: Transfer) -> Answer:
        """Send the request. Only a final answer of the service changes anything."""
        response = await self._client.post(transfer.content, self._headers(transfer))
        reach("payout.answered", self.name)
        return Answer((self._report(transfer, response),))

    async def poll(self, transfer: Transfer) -> Answer:
        """Repeat the request, which asks for the status."""
        # The service recognises the key, so a repetition asks for the status and pays nothing.
        return await self.send(transfer)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, batch: BatchInfo, payment: Payment) -> bytes:
        return canonical_json(
            {
                "type": "payout.requested",
                "data": {
                    "origin": self._origin,
                    "batch_id": batch.batch_id,
                    "manifest_sha256": sha256_hex(batch.leaf),
                    "payout_id": payment.payout_id,
                    "miner_id": payment.miner_id,
                    "address": payment.address,
                    "amount": f"{payment.amount:f}",
                    "currency": batch.currency,
                },
            }
        )

    def _headers(self, transfer: Transfer) -> Mapping[str, str]:
        moment = datetime.fromtimestamp(int(self._clock()), UTC)
        identity = transfer.reference
        return {
            "Idempotency-Key": identity,
            "webhook-id": identity,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": self._webhook.sign(identity, moment, transfer.content.decode()),
        }

    def _report(self, transfer: Transfer, response: Response) -> Report:
        """Return what an answer means. Raises `RequestFailed` unless the service has answered with success."""
        # An error says nothing about the payment: the service may have paid before it failed.
        if not 200 <= response.status < 300:  # noqa: PLR2004 - the statuses of success
            raise RequestFailed(f"{self._client.host} answered {response.status}")
        try:
            # An empty answer of success means that the request was accepted.
            answer = ServiceAnswer.model_validate_json(response.body or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the body"
            raise RequestFailed(
                f"{self._client.host} returned an undocumented answer: {field}: {first['msg']}"
            ) from None
        return Report(
            transfer.payments[0].payout_id, OUTCOMES[answer.status], answer.reason, answer.reference
        )
