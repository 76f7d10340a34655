"""Sends each payment as a transaction of its own, so that one recipient's failure concerns no other.

A nonce is used once: nonces are counted from the database's and the chain's, and the signed bytes are stored before they are sent.
Even if the process, the node or the block fails, only transactions with that nonce and that content exist, and the chain
accepts one of them. A payment has failed only if its transaction is in a block, deep enough, and moved nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from agent.coordinator.features.payouts.adapter import (
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
from agent.coordinator.features.payouts.adapters.http_client import ServiceClient
from agent.fault_points import reach
from agent.sections import section_of
from aitbc_evm import signing
from aitbc_evm.node import Node, NodeError
from aitbc_evm.settings import EvmPayoutSettings
from aitbc_evm.signing import Fees, Sending

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MAX_PREPARED: Final = 100
"""Transactions that are signed in one call."""
MAX_DECIMALS: Final = 8
"""Decimals of money on this coordinator."""

log = structlog.get_logger()


class NotNow(Exception):
    """Nothing can be paid at present. The message says why, and nothing was signed."""


class Superseded(Exception):
    """A transaction will never be included in a block, and an administrator must find out why. The message says what to do."""


class EvmAdapter(WithoutHandIns):
    """Pays in one token, or in the coin, of one chain, from one account."""

    name = "evm"
    by_hand = False

    def __init__(self, site: Site, clock: Callable[[], float] = time.time) -> None:
        settings = section_of(site.settings, EvmPayoutSettings)
        if settings.rpc_url is None:
            raise NotConfigured("Set `payouts.evm.rpc_url` to use the adapter `evm`.")
        self._settings = settings
        self._clock = clock
        self.currencies: Mapping[str, int] = {settings.currency: min(settings.decimals, MAX_DECIMALS)}
        self._account: LocalAccount = signing.load_account(settings.key_file or site.directory / "evm.key")
        self._source = f"{settings.chain_id}:{self._account.address}"
        self._node = Node(
            ServiceClient(
                settings.rpc_url,
                "payouts.evm.rpc_url",
                allow_http=settings.allow_http,
                allow_private=settings.allow_private,
                seconds=settings.timeout_seconds,
            )
        )
        self._limit = int(settings.max_fee_gwei * signing.GWEI)
        self._priority = int(settings.priority_fee_gwei * signing.GWEI)

    def check_address(self, address: str, currency: str) -> str:  # noqa: ARG002 - the same for all currencies
        """Return the address with its checksum (EIP-55). Raises `AddressRefused`."""
        return signing.check_address(address)

    async def prepare(
        self,
        batch: BatchInfo,  # noqa: ARG002 - transactions do not name it
        payments: Sequence[Payment],
        nonces: Mapping[str, int],
    ) -> Prepared:
        """Sign a transaction for each payment. Raises `NotNow` if the account or the chain's fees do not permit it."""
        chosen = payments[:MAX_PREPARED]
        await self.check_chain()
        fees = await self._fees()
        amounts = [signing.to_smallest(payment.amount, self._settings.decimals) for payment in chosen]
        await self._require_funds(sum(amounts), len(chosen), fees)
        # Last, since everything before it may refuse without a trace.
        first = await self._next_nonce(nonces)
        return Prepared(
            tuple(
                self._signed(payment, amount, nonce, fees)
                for nonce, (payment, amount) in enumerate(zip(chosen, amounts, strict=True), first)
            )
        )

    async def send(self, transfer: Transfer) -> Answer:
        """Submit the stored transaction to the network. An error counts only if the node does not know it afterwards."""
        await self.check_chain()
        try:
            await self._node.send_raw(transfer.content)
        except NodeError:
            is_known = await self._node.knows(transfer.reference)
            # The call may have failed on its way back, or the transaction may have been sent before.
            if not is_known and await self._node.transactions_sent(self._account.address) <= (
                transfer.nonce or 0
            ):
                raise
        reach("payout.answered", self.name)
        return Answer()

    async def poll(self, transfer: Transfer) -> Answer:
        """Report the transaction's fate; send it again if the network has dropped it, replace it if its fee is too low."""
        hashes: list[str] = list(transfer.state["hashes"])
        # In this order: a transaction that is counted has a receipt.
        used_nonces = await self._node.transactions_sent(self._account.address)
        head = await self._node.height()
        # Any of the replacements may be the one that a block includes.
        for transaction_hash in hashes:
            receipt = await self._node.receipt(transaction_hash)
            if receipt is not None:
                return self._of_receipt(transfer, receipt, transaction_hash, head)
        is_known = any([await self._node.knows(transaction_hash) for transaction_hash in hashes])
        nonce = transfer.nonce or 0
        if used_nonces > nonce:
            raise Superseded(
                f"another transaction of {self._account.address} has used the nonce {nonce}. Check on the chain whether it made this payment, "
                "then report the outcome: aitbc-agent payouts confirm --force"
            )
        if used_nonces == nonce and (replacement := self._replacement(transfer)) is not None:
            return replacement
        # Nodes drop transactions with low fees, or when they restart.
        if not is_known:
            await self.send(transfer)
        return self._still_sent(transfer, "it waits for a block that includes it")

    async def examine(self) -> None:
        """Check the chain, the token's decimals and the account's coins. Raises `NotNow`, or the node's errors."""
        await self.check_chain()
        if self._settings.token is not None:
            answer = await self._node.call(self._settings.token, signing.DECIMALS)
            # A wrong number of decimals would pay a thousand times too much or too little.
            if int.from_bytes(answer, "big") != self._settings.decimals or not answer:
                raise NotNow(
                    f"the token has {int.from_bytes(answer, 'big')} decimals, but `payouts.evm.decimals` is "
                    f"{self._settings.decimals}"
                )
        if await self._node.balance(self._account.address) == 0:
            raise NotNow(f"{self._account.address} has no coins to pay for gas; send it some")

    async def close(self) -> None:
        """Close the connections."""
        await self._node.close()

    async def check_chain(self) -> None:
        """Raise `NotNow` if the node serves another chain."""
        chain_id = await self._node.chain_id()
        if chain_id != self._settings.chain_id:
            raise NotNow(
                f"the node's chain has the id {chain_id}, but `payouts.evm.chain_id` is {self._settings.chain_id}"
            )

    async def _fees(self) -> Fees:
        base = await self._node.base_fee()
        if base is None:
            raise NotNow("the chain has no base fee (EIP-1559), which this adapter needs")
        if base + self._priority > self._limit:
            raise NotNow(
                f"gas costs {(base + self._priority) / signing.GWEI:g} gwei, more than `payouts.evm.max_fee_gwei` permits"
            )
        # The base fee needs six full blocks to double, so this transaction stays valid for as long.
        return Fees(min(self._limit, 2 * base + self._priority), self._priority)

    async def _require_funds(self, amount: int, count: int, fees: Fees) -> None:
        """Raise `NotNow` if the account could not pay so many transfers of this amount in total."""
        gas = count * self._settings.gas_limit * fees.most
        coins = await self._node.balance(self._account.address)
        token = self._settings.token
        # Gas is paid in the coin, also for tokens.
        needed = gas if token is not None else gas + amount
        if coins < needed:
            raise NotNow(
                f"{self._account.address} has {coins / 1e18:g} coins, and up to {needed / 1e18:g} are needed; send it more"
            )
        if token is None:
            return
        data = signing.BALANCE_OF + signing.word(self._account.address)
        tokens = int.from_bytes(await self._node.call(token, data), "big")
        if tokens < amount:
            unit = 10**self._settings.decimals
            raise NotNow(
                f"{self._account.address} has {tokens / unit:g} {self._settings.currency}, and {amount / unit:g} are needed; "
                "send it more"
            )

    async def _next_nonce(self, nonces: Mapping[str, int]) -> int:
        """Return the nonce after the last one that was stored.

        Raises `NotNow` if the account has sent transactions that the database does not have: after a restored backup, their
        payments would be made twice.
        """
        following = nonces.get(self._source, -1) + 1
        expected = max(following, self._settings.foreign_transactions)
        used_nonces = await self._node.transactions_sent(self._account.address)
        if used_nonces > expected:
            raise NotNow(
                f"{self._account.address} has sent {used_nonces} transactions, but {expected} are known here. If the database was restored "
                "from a backup, report the payments that were made since. Then set `payouts.evm.foreign_transactions` to "
                f"{used_nonces}"
            )
        return max(following, used_nonces)

    def _signed(self, payment: Payment, amount: int, nonce: int, fees: Fees) -> NewTransfer:
        sending = Sending(
            self._settings.chain_id,
            self._settings.token,
            payment.address,
            amount,
            nonce,
            self._settings.gas_limit,
        )
        signed = signing.sign(self._account, sending, fees)
        state = {
            "sending": {**asdict(sending), "amount": str(amount)},
            "fees": asdict(fees),
            "hashes": [signed.hash],
            "signed_at": self._clock(),
        }
        return NewTransfer((payment.payout_id,), signed.raw, signed.hash, self._source, nonce, state)

    def _replacement(self, transfer: Transfer) -> Answer | None:
        """Return a transaction with the same nonce and content and a higher fee, or None if it is too early or the limit on replacements is reached."""
        state = dict(transfer.state)
        hashes = list(state["hashes"])
        waited = self._clock() - state["signed_at"]
        if waited < self._settings.replace_seconds or len(hashes) > self._settings.max_replacements:
            return None
        fees = Fees(**state["fees"]).raised(self._settings.replace_percent, self._limit)
        if fees is None:
            return None
        signed = signing.sign(self._account, _sending(state), fees)
        # The old hashes stay: a block may still include an earlier version.
        state |= {"fees": asdict(fees), "hashes": [*hashes, signed.hash], "signed_at": self._clock()}
        log.info("payout_replaced", transfer_id=transfer.transfer_id, replacements=len(hashes))
        return Answer(state=state, content=signed.raw, reference=signed.hash)

    def _of_receipt(
        self, transfer: Transfer, receipt: Mapping[str, Any], transaction_hash: str, head: int
    ) -> Answer:
        # The block itself is the first confirmation.
        deep = head - int(receipt["blockNumber"], 16) + 1
        needed = self._settings.confirmations
        if deep < needed:
            return self._still_sent(transfer, f"{deep} of {needed} confirmations", transaction_hash)
        if int(receipt["status"], 16) != 1:
            return self._report(transfer, Outcome.FAILED, "the chain refused the transfer", transaction_hash)
        # Some tokens return false instead of failing, and then the transaction counts as successful.
        if self._settings.token is not None and not self._moved(transfer, receipt):
            return self._report(
                transfer, Outcome.FAILED, "the token's contract moved nothing", transaction_hash
            )
        return self._report(transfer, Outcome.CONFIRMED, "", transaction_hash)

    def _moved(self, transfer: Transfer, receipt: Mapping[str, Any]) -> bool:
        """Return whether the token's contract has logged a transfer from the account to the recipient."""
        sender = signing.word(self._account.address)
        recipient = signing.word(transfer.state["sending"]["recipient"])
        expected = [signing.TRANSFERRED, f"0x{sender.hex()}", f"0x{recipient.hex()}"]
        token = (self._settings.token or "").lower()
        return any(
            entry["address"].lower() == token and [topic.lower() for topic in entry["topics"]] == expected
            for entry in receipt["logs"]
        )

    def _still_sent(self, transfer: Transfer, reason: str, reference: str = "") -> Answer:
        return self._report(transfer, Outcome.SENT, reason, reference or transfer.reference)

    def _report(self, transfer: Transfer, outcome: Outcome, reason: str, reference: str) -> Answer:
        return Answer((Report(transfer.payments[0].payout_id, outcome, reason, reference),))


def _sending(state: Mapping[str, Any]) -> Sending:
    """Return what a stored transaction does. Its amount is stored as text, since it exceeds the range of exact JSON numbers."""
    return Sending(**{**state["sending"], "amount": int(state["sending"]["amount"])})
