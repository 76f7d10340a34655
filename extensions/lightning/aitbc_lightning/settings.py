"""Settings of the adapter `lightning`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from agent.sections import HomePath, Section


class LightningPayoutSettings(Section):
    """Payouts over Lightning by a Core Lightning node: the adapter `lightning`, which `aitbc-agent[payouts-lightning]` installs."""

    socket: Annotated[HomePath | None, Field(examples=["~/.lightning/bitcoin/lightning-rpc"])] = None
    """The node's JSON-RPC socket. None: this adapter cannot be used."""
    network: Literal["bitcoin", "testnet", "signet", "regtest"] = "bitcoin"
    """Network of the node, and of the invoices that it pays."""
    max_fee_percent: Annotated[Decimal, Field(ge=0, le=100)] = Decimal("0.5")
    """Highest routing fee, as a share of the payment. The operator pays it."""
    min_expiry_seconds: Annotated[int, Field(ge=0)] = 3600
    """How long an invoice must still be valid when a miner hands it in."""
    invoice_wait_seconds: Annotated[float, Field(gt=0)] = 14 * 86_400
    """How long a payment waits for its invoice before its amount returns to the miner's earnings."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """How many times a payment without a route is tried before its amount returns to the miner's earnings."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 60
    """Time limit of one call of the node, which searches for routes meanwhile."""
