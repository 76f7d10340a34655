"""An Ethereum chain in this process (py-evm) behind a JSON-RPC server on loopback, with a real ERC-20 contract.

Blocks are made only by `mine`, so that a test decides when a transaction gets its block. `lose` forgets waiting transactions, as nodes
do, and `reorganise` replaces the newest blocks by empty ones.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import eth_abi
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionNotFound
from eth_utils.crypto import keccak
from hexbytes import HexBytes

RECURSION_LIMIT = 1000
"""Python's own. The packages raise it so far that deeply nested JSON would crash this process instead of being refused."""
sys.setrecursionlimit(RECURSION_LIMIT)
CHAIN_ID = 131277322940537
"""The id that eth-tester's chain has."""
CONTRACT = json.loads((Path(__file__).with_name("erc20.json")).read_text())
SUPPLY = 10**15
KEY = "0x" + "5e" * 32


class Refused(Exception):
    """The node refuses a call."""


class EvmChain:
    """A chain with a funded paying account, and a token of which that account has all."""

    def __init__(self) -> None:
        self.tester = EthereumTester(PyEVMBackend(), auto_mine_transactions=False)
        sys.setrecursionlimit(RECURSION_LIMIT)
        self.payer: str = Account.from_key(KEY).address
        self.calls: list[str] = []
        self.failing: dict[str, str] = {}
        """Methods that answer an error, with its message."""
        self.chain_id = CHAIN_ID
        self.mines_when_polled = False
        """Whether the waiting transactions get their block when the newest block's number is asked for."""
        self.waiting: dict[tuple[str, int], bytes] = {}
        """Signed transactions by sender and nonce."""
        self._lock = threading.RLock()
        self._before: list[Any] = []
        funder = self.tester.get_accounts()[0]
        self._send({"from": funder, "to": self.payer, "value": 10**20, "gas": 21_000})
        self.tester.mine_block()
        arguments = eth_abi.encode(
            ["string", "string", "uint256", "address"], ["Token", "TOK", SUPPLY, self.payer]
        )
        code = CONTRACT["bytecode"] + arguments.hex()
        deployed = self._send({"from": funder, "data": code, "gas": 3_000_000, "value": 0})
        self.tester.mine_block()
        self.token: str = self.tester.get_transaction_receipt(deployed)["contract_address"]

    @property
    def waiting_hashes(self) -> list[str]:
        return [_hash(raw) for raw in self.waiting.values()]

    def mine(self, blocks: int = 1) -> None:
        """Put the waiting transactions that pay the base fee into a block, in order of their nonces, and add empty blocks."""
        with self._lock:
            self._before.append(self.tester.take_snapshot())
            for (sender, nonce), raw in sorted(self.waiting.items()):
                fee = self.tester.get_block_by_number("latest")["base_fee_per_gas"]
                if nonce == self._nonce(sender) and _fee(raw) >= fee:
                    self.tester.send_raw_transaction(f"0x{raw.hex()}")
                    self.tester.mine_block()
                    del self.waiting[sender, nonce]
            self.tester.mine_blocks(blocks)

    def lose(self) -> None:
        """Forget the waiting transactions."""
        with self._lock:
            self.waiting.clear()

    def reorganise(self) -> None:
        """Undo the newest call of `mine`; its transactions are lost."""
        with self._lock:
            self.tester.revert_to_snapshot(self._before.pop())
            self.tester.mine_block()

    def tokens(self, address: str) -> int:
        """Return how many tokens an account has."""
        data = "0x70a08231" + address.removeprefix("0x").lower().rjust(64, "0")
        found = self.tester.call({"from": self.payer, "to": self.token, "data": data, "gas": 100_000})
        return int(found, 16)

    def coins(self, address: str) -> int:
        """Return how many wei an account has."""
        return int(self.tester.get_balance(address))

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve JSON-RPC on loopback, at the URL that is returned."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(60)

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """Answer one call as a node does. Raises `Refused`."""
        with self._lock:
            self.calls.append(method)
            if method in self.failing:
                raise Refused(self.failing[method])
            return getattr(self, f"_{method}")(*parameters)

    def _eth_chainId(self) -> str:  # noqa: N802 - the interface's names
        return hex(self.chain_id)

    def _eth_blockNumber(self) -> str:  # noqa: N802
        if self.mines_when_polled and self.waiting:
            self.mine(0)
        return hex(self._height())

    def _eth_getBlockByNumber(self, block: str, _full: bool) -> dict[str, str]:  # noqa: N802
        found = self.tester.get_block_by_number(block)
        return {"number": hex(found["number"]), "baseFeePerGas": hex(found["base_fee_per_gas"])}

    def _eth_getTransactionCount(self, address: str, block: str) -> str:  # noqa: N802
        return hex(self.tester.get_nonce(address, block if block == "latest" else int(block, 16)))

    def _eth_getBalance(self, address: str, _block: str) -> str:  # noqa: N802
        return hex(self.coins(address))

    def _eth_call(self, request: dict[str, str], _block: str) -> str:
        return str(self.tester.call({**request, "from": self.payer, "gas": 100_000}))

    def _eth_sendRawTransaction(self, text: str) -> str:  # noqa: N802
        raw = bytes.fromhex(text.removeprefix("0x"))
        sender = Account.recover_transaction(raw)
        nonce = int(_fields(raw)["nonce"])
        if int(_fields(raw)["chainId"]) != self.chain_id:
            raise Refused("invalid chain id for signer")
        if nonce < self._nonce(sender):
            raise Refused("nonce too low")
        present = self.waiting.get((sender, nonce))
        if present == raw:
            raise Refused("already known")
        if present is not None and _fee(raw) * 10 < _fee(present) * 11:
            raise Refused("replacement transaction underpriced")
        self.waiting[sender, nonce] = raw
        return _hash(raw)

    def _eth_getTransactionReceipt(self, transaction_hash: str) -> dict[str, Any] | None:  # noqa: N802
        if transaction_hash in self.waiting_hashes:
            return None
        try:
            found = self.tester.get_transaction_receipt(transaction_hash)
        except TransactionNotFound:
            return None
        logs = [{"address": log["address"], "topics": list(log["topics"])} for log in found["logs"]]
        return {"blockNumber": hex(found["block_number"]), "status": hex(found["status"]), "logs": logs}

    def _eth_getTransactionByHash(self, transaction_hash: str) -> dict[str, str] | None:  # noqa: N802
        if transaction_hash in self.waiting_hashes:
            return {"hash": transaction_hash}
        return self._eth_getTransactionReceipt(transaction_hash)

    def _height(self) -> int:
        return int(self.tester.get_block_by_number("latest")["number"])

    def _nonce(self, address: str) -> int:
        return int(self.tester.get_nonce(address, "latest"))

    def _send(self, transaction: dict[str, Any]) -> Any:
        return self.tester.send_transaction({**transaction, "gas_price": 10**10})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chain = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
                try:
                    answer["result"] = chain.answer(request["method"], request["params"])
                except Refused as error:
                    answer["error"] = {"code": -32000, "message": str(error)}
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _fields(raw: bytes) -> dict[str, Any]:
    return dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())


def _fee(raw: bytes) -> int:
    return int(_fields(raw)["maxFeePerGas"])


def _hash(raw: bytes) -> str:
    return f"0x{keccak(raw).hex()}"
