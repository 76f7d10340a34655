"""Settings of payouts, and of the adapters that send them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agent.core.values.quantities import Money
from agent.sections import HIDDEN, Currency, HomePath, Section, extensible

Rate = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,18})?$", examples=["0.9137"])]

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


@extensible("payouts")
class PayoutSettings(Section):
    """Payouts of miners' earnings. An administrator creates and approves batches; an adapter sends them."""

    adapters: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)], ...], Field(max_length=32)
    ] = ("file",)
    """Adapters that may be used, by name. Miners can only choose an address for one of these."""
    rates: dict[Currency, Rate] = Field(default={}, examples=[{"EUR": "0.9137"}])
    """What one credit is worth, by currency: the rate of batches for which the administrator names none."""
    minimum: Money = Money("1")
    """Smallest payment: miners who have earned less are paid later, since most ways to pay have a fixed cost."""
    hold_hours: Annotated[float, Field(ge=0, le=8760)] = 72
    """How long earnings are held before they can be paid out. Longer than an audit takes, so that money which an audit takes back
    has not left yet. Earnings are held by whole UTC days: until the end of the day on which this time has passed. 0: no hold."""
    new_miner_hours: Annotated[float, Field(ge=0, le=8760)] = 168
    """How long after its first registration a miner is not paid yet. The default is a week, so that audits can check enough of a new miner's work."""
    max_payments: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Maximum number of payments in a batch; the miners with the largest amounts come first. An administrator can review a thousand."""
    address_delay_hours: Annotated[float, Field(ge=0, le=8760)] = 72
    """How long a changed payout address waits before it is used, so that an owner who did not make the change can revoke it. A
    miner's first address is used immediately."""
    four_eyes: bool = False
    """Whether a batch must be approved with a different administrator's key than the one that created it."""
    call_seconds: Annotated[float, Field(gt=0, le=600)] = 60
    """Time limit of each call of an adapter. After it, the call's outcome counts as unknown, and the call is repeated."""
    poll_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30
    """Interval at which adapters are asked for the state of the transfers that they sent."""
    retry_seconds: Annotated[float, Field(gt=0, le=86_400)] = 5
    """First pause after a call of an adapter that failed; each further pause is twice as long."""
    max_retry_seconds: Annotated[float, Field(gt=0, le=86_400)] = 3600
    """Longest pause between calls of an adapter that fail."""
    file: FilePayoutSettings = FilePayoutSettings()
    http: HttpPayoutSettings = HttpPayoutSettings()


SETTINGS: Final = {"payouts": PayoutSettings}
