"""Checks of a Lightning invoice (BOLT 11) before it is paid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import bolt11

from agent.coordinator.features.payouts.adapter import AddressRefused

MAX_INVOICE: Final = 4096
ANYBODY: Final = "any"
"""The address of miners whose invoices may come from any node, as those of custodial wallets do."""
MSAT: Final = 10**11
"""Millisatoshis in one bitcoin."""
CURRENCIES: Final = {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
"""The prefix of invoices on each network."""

_NODE_ID: Final = re.compile(r"0[23][0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Invoice:
    """The content of an invoice. `expires_at` is in seconds since the epoch."""

    text: str
    payment_hash: str
    payee: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Expected:
    """The required content of an invoice. `payee` is a node's id or `ANYBODY`; `description` must contain the payout's id."""

    network: str
    msat: int
    payee: str
    payout_id: str
    valid_until: float


def check_address(address: str) -> str:
    """Return a node's id in lower case, or `ANYBODY`. Raises `AddressRefused`."""
    text = address.strip().lower()
    if text != ANYBODY and _NODE_ID.fullmatch(text) is None:
        raise AddressRefused(
            f"{address!r} is not the id of a Lightning node: 66 hexadecimal digits that begin with 02 or 03 are expected, or "
            f"{ANYBODY!r} if your wallet's invoices come from changing nodes."
        )
    return text


def to_msat(amount: Decimal) -> int:
    """Return an amount in bitcoin as millisatoshis."""
    return int(amount * MSAT)


def check(text: str, expected: Expected) -> Invoice:
    """Return an invoice that says what is expected. Raises `AddressRefused` with every difference."""
    stripped = text.strip().lower().removeprefix("lightning:")
    if len(stripped) > MAX_INVOICE:
        raise AddressRefused(f"An invoice has at most {MAX_INVOICE} characters.")
    try:
        decoded = bolt11.decode(stripped)
    except Exception as error:  # noqa: BLE001 - the library raises many kinds for malformed text
        raise AddressRefused(
            f"This is not a valid Lightning invoice: {str(error) or type(error).__name__}"
        ) from None
    payee = str(decoded.payee).lower()
    msat = None if decoded.amount_msat is None else int(decoded.amount_msat)
    # All at once, so that a miner need not create one invoice after the other.
    differences = [
        message
        for wrong, message in (
            (
                decoded.currency != CURRENCIES[expected.network],
                f"it is for another network ({decoded.currency}); {expected.network} is needed",
            ),
            (
                msat != expected.msat,
                f"its amount is {'open' if msat is None else f'{msat} msat'}; it must be {expected.msat} msat",
            ),
            (
                expected.payee not in (ANYBODY, payee),
                f"it pays {payee}; your payout address is {expected.payee}",
            ),
            (
                # Otherwise an invoice for another payment of the same amount would be paid twice.
                expected.payout_id not in (decoded.description or ""),
                f"its description must contain {expected.payout_id}",
            ),
            (
                decoded.expiry_time < expected.valid_until,
                "it expires too early; create one that is valid for a day",
            ),
        )
        if wrong
    ]
    if differences:
        raise AddressRefused(f"This invoice cannot be paid: {'; '.join(differences)}.")
    return Invoice(stripped, decoded.payment_hash, payee, decoded.expiry_time)
