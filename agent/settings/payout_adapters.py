"""Settings of the adapters that send payouts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent.sections import HIDDEN, Currency, HomePath, Section

_SECRET: Any = Field(
    pattern=r"^whsec_.{24,}$",
    examples=["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"],
    json_schema_extra={HIDDEN: True},
)


class FilePayoutSettings(Section):
    """Payouts as files for a bank or a payment processor (adapter `file`)."""

    currency: Currency = "EUR"
    """Currency of the amounts in the files."""
    decimals: Annotated[int, Field(ge=0, le=8)] = 2
    """Decimals of an amount; smaller parts stay with the miner until the next batch."""
    address: Literal["iban", "text"] = "iban"
    """What a miner's address is: an IBAN, whose check digits are verified, or free text of at most 140 characters."""
    directory: HomePath | None = None
    """Directory of the files, which only the agent's user can read. None: `coordinator/payouts` in the data directory."""


class HttpPayoutSettings(Section):
    """Payouts by signed requests to the operator's own service (adapter `http`), and deposits from it."""

    url: Annotated[
        str | None,
        Field(pattern=r"^https?://[^\s#@]+$", max_length=500, examples=["https://pay.example.org/aitbc"]),
    ] = None
    """Address of the service, which gets one request for each payment. None: this adapter cannot be used."""
    secret: Annotated[str | None, _SECRET] = None
    """Secret that signs the requests, `whsec_` with base64 of 24 to 64 bytes, as for webhooks."""
    currency: Currency = "EUR"
    """Currency of the amounts."""
    decimals: Annotated[int, Field(ge=0, le=8)] = 2
    """Decimals of an amount; smaller parts stay with the miner until the next batch."""
    allow_http: bool = False
    """Whether `http://` is allowed. Off by default: anyone on the network path could read the payments."""
    allow_private: bool = False
    """Whether the service may have a private or loopback address, as one on the operator's own machine has."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15
    """Time limit of one request."""
    deposit_secret: Annotated[str | None, _SECRET] = None
    """Secret with which the service signs deposits. It differs from `secret`, so that a request of one kind never passes as the other.
    None: only an administrator's key can make deposits."""
    deposit_window_seconds: Annotated[float, Field(gt=0, le=3600)] = 300
    """How far the time of a signed deposit may differ from the coordinator's clock: five minutes, as the Standard Webhooks
    libraries allow."""
