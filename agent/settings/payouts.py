"""Settings of payouts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.core.values.quantities import Money
from agent.sections import Section, extensible
from agent.settings.payout_adapters import FilePayoutSettings, HttpPayoutSettings


@extensible("payouts")
class PayoutSettings(Section):
    """Payouts of miners' earnings. An administrator creates and approves batches; an adapter sends them."""

    adapters: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)], ...], Field(max_length=32)
    ] = ("file",)
    """Adapters that may be used, by name. Miners can only choose an address for one of these."""
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
