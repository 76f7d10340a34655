"""The paying account: its key, and the transactions that it signs."""

from __future__ import annotations

import stat
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.coordinator.features.payouts.adapter import AddressRefused, NotConfigured

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

GWEI: Final = 10**9
TRANSFER: Final = bytes.fromhex("a9059cbb")
"""Selector of `transfer(address,uint256)` (ERC-20)."""
BALANCE_OF: Final = bytes.fromhex("70a08231")
DECIMALS: Final = bytes.fromhex("313ce567")
TRANSFERRED: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""Topic of the event `Transfer(address,address,uint256)`."""
BLANK: Final = "0x" + 40 * "0"


@dataclass(frozen=True, slots=True)
class Fees:
    """The price of a unit of gas in wei."""

    most: int
    """All that it costs at most."""
    priority: int
    """What goes to the block's producer at most."""

    def raised(self, percent: int, limit: int) -> Fees | None:
        """Return fees raised by so many percent, rounded up, or None if they would exceed the limit."""
        # Rounded up, since nodes refuse a replacement that raises the fee by less than their own percentage.
        most, priority = (-(-fee * (100 + percent) // 100) for fee in (self.most, self.priority))
        return Fees(most, priority) if most <= limit else None


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction."""

    raw: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class Sending:
    """What a transaction does: it sends `amount` of the token (None: of the coin), in the smallest unit, to `recipient`."""

    chain_id: int
    token: str | None
    recipient: str
    amount: int
    nonce: int
    gas: int


def load_account(path: Path) -> LocalAccount:
    """Read the account's key. Raises `NotConfigured`, without any part of the key in the message."""
    limit = sys.getrecursionlimit()
    try:
        from eth_account import Account  # noqa: PLC0415 - see below
    finally:
        # One of its packages raises the limit so far that a client's deeply nested JSON would crash this process.
        sys.setrecursionlimit(limit)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(
            f"The key of the paying account cannot be read from {path} ({type(error).__name__})."
        ) from None
    # Every reader of the key owns the money.
    if mode & 0o077:
        raise NotConfigured(f"Other users may read the key {path} (mode {mode:o}). Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
        account: LocalAccount = Account.from_key(key)
    except Exception:  # noqa: BLE001 - the library's messages may contain the key
        raise NotConfigured(f"{path} has no private key: 64 hexadecimal digits are expected.") from None
    return account


def check_address(address: str) -> str:
    """Return an account's address with its checksum (EIP-55). Raises `AddressRefused`."""
    from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address  # noqa: PLC0415 - as above

    text = address.strip()
    digits = text.removeprefix("0x")
    if not text.startswith("0x") or not is_hex_address(text):
        raise AddressRefused(
            f"{address!r} is not an address of this chain: 0x and 40 hexadecimal digits are expected."
        )
    # An address in one case carries no checksum.
    mixed = digits not in (digits.lower(), digits.upper())
    if mixed and not is_checksum_address(text):
        raise AddressRefused(f"The checksum of {address!r} is wrong: a character is mistyped.")
    if text.lower() == BLANK:
        raise AddressRefused("The zero address belongs to nobody; money sent there is lost.")
    return str(to_checksum_address(text.lower()))


def to_smallest(amount: Decimal, decimals: int) -> int:
    """Return an amount in the smallest unit. Raises `ValueError` if it is not a whole number of them."""
    scaled = amount.scaleb(decimals)
    if scaled != scaled.to_integral_value() or scaled <= 0:
        raise ValueError(f"{amount} is not a positive amount with at most {decimals} decimals")
    return int(scaled)


def word(value: str | int) -> bytes:
    """Return an address or a number as a 32-byte argument of a contract's call."""
    number = int(value, 16) if isinstance(value, str) else value
    return number.to_bytes(32, "big")


def sign(account: LocalAccount, sending: Sending, fees: Fees) -> Signed:
    """Sign a transaction of type 2 (EIP-1559), which is valid on its chain only."""
    transaction: dict[str, Any] = {
        "type": 2,
        "chainId": sending.chain_id,
        "nonce": sending.nonce,
        "gas": sending.gas,
        "maxFeePerGas": fees.most,
        "maxPriorityFeePerGas": fees.priority,
        "to": sending.recipient,
        "value": sending.amount,
        "data": b"",
    }
    if sending.token is not None:
        data = TRANSFER + word(sending.recipient) + word(sending.amount)
        # The recipient is an argument of the contract's call, and no coins are sent.
        transaction |= {"to": check_address(sending.token), "value": 0, "data": data}
    signed = account.sign_transaction(transaction)
    return Signed(bytes(signed.raw_transaction), f"0x{bytes(signed.hash).hex()}")
