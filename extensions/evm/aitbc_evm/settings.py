"""Settings of the adapter `evm`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from agent.sections import HIDDEN, Currency, HomePath, Section


class EvmPayoutSettings(Section):
    """Payouts in a token or the coin of an Ethereum-compatible chain: the adapter `evm`, which `aitbc-agent[payouts-evm]` installs."""

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
