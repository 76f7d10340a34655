"""Calls of a node's JSON-RPC interface (Ethereum execution API)."""

from __future__ import annotations

import itertools
import json
from typing import Any, Final

from agent.coordinator.features.payouts.adapters.http_client import RequestFailed, ServiceClient

LATEST: Final = "latest"


class NodeError(Exception):
    """The node has refused a call. `message` is its own."""

    def __init__(self, method: str, message: str) -> None:
        super().__init__(f"the node refused {method}: {message}")
        self.message = message


class Node:
    """A node. Every method raises `RequestFailed` or `NodeError`."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._numbers = itertools.count(1)

    async def chain_id(self) -> int:
        """Return the id of the node's chain."""
        return int(await self._call("eth_chainId"), 16)

    async def height(self) -> int:
        """Return the number of the newest block."""
        return int(await self._call("eth_blockNumber"), 16)

    async def base_fee(self) -> int | None:
        """Return the newest block's base fee in wei per unit of gas, or None on a chain without one (EIP-1559)."""
        block = await self._call("eth_getBlockByNumber", LATEST, False)
        fee = block.get("baseFeePerGas")
        return None if fee is None else int(fee, 16)

    async def transactions_sent(self, address: str) -> int:
        """Return how many transactions of an account are in blocks, the nonce of the next one."""
        return int(await self._call("eth_getTransactionCount", address, LATEST), 16)

    async def balance(self, address: str) -> int:
        """Return an account's coins in wei."""
        return int(await self._call("eth_getBalance", address, LATEST), 16)

    async def call(self, contract: str, data: bytes) -> bytes:
        """Return what a contract answers to a call without a transaction."""
        request = {"to": contract, "data": f"0x{data.hex()}"}
        return bytes.fromhex(str(await self._call("eth_call", request, LATEST)).removeprefix("0x"))

    async def send_raw(self, transaction: bytes) -> None:
        """Submit a signed transaction to the network."""
        await self._call("eth_sendRawTransaction", f"0x{transaction.hex()}")

    async def receipt(self, transaction_hash: str) -> dict[str, Any] | None:
        """Return the receipt of a transaction that is in a block, or None."""
        receipt = await self._call("eth_getTransactionReceipt", transaction_hash)
        # Some nodes answer with an incomplete receipt while a transaction waits.
        return receipt if receipt and receipt.get("blockNumber") else None

    async def knows(self, transaction_hash: str) -> bool:
        """Return whether the node has the transaction, in a block or waiting."""
        return await self._call("eth_getTransactionByHash", transaction_hash) is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _call(self, method: str, *parameters: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": parameters}
        response = await self._client.post(json.dumps(request).encode(), {})
        try:
            answer = json.loads(response.body)
            error = answer.get("error")
        except (ValueError, AttributeError):
            raise RequestFailed(
                f"the node answered {method} with status {response.status}, and not in JSON-RPC"
            ) from None
        if error:
            # Some proxies in front of nodes send a text instead of an object.
            message = error.get("message") if isinstance(error, dict) else error
            raise NodeError(method, str(message)[:300])
        return answer.get("result")
