"""Settings of the adapters that send payouts."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from agent.settings._section import HIDDEN, HomePath, Section

_SECRET: Any = Field(
    pattern=r"^whsec_.{24,}$",
    examples=["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"],
    json_schema_extra={HIDDEN: True},
)
Currency = Annotated[str, Field(pattern=r"^[A-Za-z0-9.]{1,12}$", examples=["EUR"])]


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


class EvmPayoutSettings(Section):
    """Payouts in a token or the coin of an Ethereum-compatible chain (adapter `evm`, extra `payouts-evm`)."""

    rpc_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s#@]+$",
            max_length=500,
            examples=["https://rpc.example.org/KEY"],
            json_schema_extra={HIDDEN: True},
        ),
    ] = None
    """JSON-RPC address of a node. It is never shown, since such addresses often contain a key. None: this adapter cannot be used."""
    chain_id: Annotated[int, Field(ge=1)] = 1
    """Id of the chain. A node of another chain is refused before anything is signed."""
    token: Annotated[
        str | None,
        Field(pattern=r"^0x[0-9a-fA-F]{40}$", examples=["0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"]),
    ] = None
    """Address of the ERC-20 contract. None: the chain's own coin."""
    currency: Currency = "ETH"
    """Name of the token or coin."""
    decimals: Annotated[int, Field(ge=0, le=36)] = 18
    """Decimals of the token, as its contract states them; 18 for the coin. Payments have at most 8."""
    key_file: HomePath | None = None
    """File with the private key of the paying account in hex, readable only by its owner. None: `coordinator/evm.key` in the data
    directory."""
    foreign_transactions: Annotated[int, Field(ge=0)] = 0
    """Number of transactions that the account had sent when an administrator last accounted for those that this coordinator does not
    know. If the account has sent more, nothing is paid: after a restored backup, payments would be made twice. Use an account that sends
    nothing else."""
    gas_limit: Annotated[int, Field(ge=21_000, le=10_000_000)] = 100_000
    """Gas limit of one transfer. Transfers of common tokens need 30,000 to 65,000."""
    max_fee_gwei: Annotated[Decimal, Field(gt=0)] = Decimal(100)
    """Maximum price of a unit of gas, in gwei (1e-9 coin). While the chain asks more, payments wait."""
    priority_fee_gwei: Annotated[Decimal, Field(ge=0)] = Decimal(1)
    """Tip for the block's producer, a part of that price, in gwei."""
    confirmations: Annotated[int, Field(ge=1, le=1000)] = 12
    """Number of blocks, its own included, after which a transaction counts as final."""
    replace_seconds: Annotated[float, Field(gt=0)] = 300
    """How long a transaction may wait for its block before it is replaced by one with the same nonce and a higher fee."""
    replace_percent: Annotated[int, Field(ge=10, le=100)] = 15
    """By how much a replacement raises the fee; nodes refuse less than 10."""
    max_replacements: Annotated[int, Field(ge=0, le=20)] = 5
    """Maximum number of replacements of a transaction. After that, it is sent again unchanged until a block includes it."""
    allow_http: bool = False
    """Whether `http://` is allowed for `rpc_url`, as for a node on the operator's own machine."""
    allow_private: bool = False
    """Whether the node may have a private or loopback address."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15
    """Time limit of one call of the node."""


class LightningPayoutSettings(Section):
    """Payouts over Lightning by a Core Lightning node (adapter `lightning`, extra `payouts-lightning`)."""

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
