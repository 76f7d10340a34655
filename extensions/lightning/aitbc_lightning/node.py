"""Calls of a Core Lightning node through its JSON-RPC socket."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

MAX_ANSWER: Final = 4 * 1024 * 1024
IN_PROGRESS: Final = 200
"""The error of `pay` while an earlier one still tries to pay the same invoice."""
RETRY_MARGIN: Final = 5
"""Seconds by which the node stops searching for a route before the call's time limit."""


class NodeUnreachable(Exception):
    """The node did not answer. What it did is unknown."""


class NodeRefused(Exception):
    """The node has answered with an error. Unless `code` is `IN_PROGRESS`, this call no longer pays anything."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class PayStatus(StrEnum):
    """The status of an invoice's payments."""

    NONE = "none"
    PENDING = "pending"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Payments:
    """The node's payments for one payment hash. `preimage` proves a complete payment."""

    status: PayStatus
    preimage: str = ""


class Node:
    """A node. Every method raises `NodeUnreachable` or `NodeRefused`."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._numbers = itertools.count(1)

    @property
    def retry_seconds(self) -> int:
        """How long the node searches for a route within one `pay`."""
        return max(1, int(self._seconds) - RETRY_MARGIN)

    async def network(self) -> str:
        """Return the node's network: bitcoin, testnet, signet or regtest."""
        return str((await self._call("getinfo", {}))["network"])

    async def payments(self, payment_hash: str) -> Payments:
        """Return the status of the payments of an invoice. One that is complete outweighs all others, then one that is pending."""
        answer = await self._call("listpays", {"payment_hash": payment_hash})
        by_status = {str(pay["status"]): pay for pay in answer["pays"]}
        for status in (PayStatus.COMPLETE, PayStatus.PENDING):
            if status.value in by_status:
                return Payments(status, str(by_status[status.value].get("preimage", "")))
        return Payments(PayStatus.FAILED if by_status else PayStatus.NONE)

    async def pay(self, invoice: str, *, label: str, max_fee_msat: int) -> Payments:
        """Pay an invoice, for which the node tries several routes. A repetition for a paid invoice returns the first payment."""
        parameters = {
            "bolt11": invoice,
            "label": label,
            "maxfee": f"{max_fee_msat}msat",
            # It ends before this call's time limit, so that the outcome is usually known.
            "retry_for": self.retry_seconds,
        }
        answer = await self._call("pay", parameters)
        return Payments(PayStatus(str(answer["status"])), str(answer.get("payment_preimage", "")))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        request = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": parameters}
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._exchange(json.dumps(request).encode())
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            raise NodeUnreachable(
                f"the Lightning node did not answer at {self._path} ({type(error).__name__})"
            ) from None
        if "error" in answer:
            raise NodeRefused(
                f"the Lightning node refused {method}: {str(answer['error'].get('message'))[:300]}"
            )
        return answer["result"]

    async def _exchange(self, request: bytes) -> dict[str, Any]:
        """Send a request and read until its answer is complete: a JSON object, after which the node sends an empty line."""
        # A connection for each call: answers of several calls on one could come in any order.
        reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_ANSWER)
        try:
            writer.write(request)
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readuntil(b"\n\n"))
            return answer
        finally:
            writer.close()
