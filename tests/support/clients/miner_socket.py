"""A miner's WebSocket under the test's control."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from support.clients.scripted_miner import ScriptedMiner

LIMIT_SECONDS = 180


class Socket:
    """A miner's WebSocket; pushes and responses may arrive in any order."""

    def __init__(self, miner: ScriptedMiner, **options: Any) -> None:
        self._opening = connect(
            f"{miner.url.replace('http', 'ws', 1)}/v1/miners/session",
            additional_headers={"Authorization": miner.http.headers["Authorization"]},
            max_size=None,
            open_timeout=LIMIT_SECONDS,
            **options,
        )
        self._miner = miner
        self.received = 0
        self._pushes: deque[dict[str, Any]] = deque()
        self._answers: dict[Any, dict[str, Any]] = {}
        self._calls = 0

    def __enter__(self) -> Self:
        self.connection: ClientConnection = self._opening.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._opening.__exit__(*exception)

    def slots(
        self, slots: int, received: int | None = None, batch_capacity: Sequence[dict[str, Any]] = ()
    ) -> None:
        message = {
            "call": "slots",
            "slots": slots,
            "received": self.received if received is None else received,
            "batch_capacity": list(batch_capacity),
        }
        self.connection.send(json.dumps(message))

    def send(self, call: Any, job_id: str | None = None, body: Any = None) -> int:
        """Send a call. Returns its id."""
        self._calls += 1
        message = {"id": self._calls, "call": call, "body": {} if body is None else body}
        self.connection.send(json.dumps(message if job_id is None else {**message, "job_id": job_id}))
        return self._calls

    def call(self, call: Any, job_id: str | None = None, body: Any = None) -> tuple[int, Any]:
        """Return the status and body of the response."""
        return self.answer(self.send(call, job_id, body))

    def answer(self, number: int) -> tuple[int, Any]:
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        return answer["status"], answer["body"]

    def push(self, kind: str) -> dict[str, Any]:
        """Return the next push, which must be of this kind."""
        while not self._pushes:
            self._read()
        message = self._pushes.popleft()
        assert message["push"] == kind
        return message

    def lease(self) -> dict[str, Any]:
        lease: dict[str, Any] = self.push("lease")["lease"]
        self._miner.leases.append(lease)
        return lease

    def next_lease(self, seconds: float) -> dict[str, Any] | None:
        """Return the next lease, passing over other pushes, or None if none comes for some seconds."""
        while True:
            while self._pushes:
                if (message := self._pushes.popleft())["push"] == "lease":
                    lease: dict[str, Any] = message["lease"]
                    return lease
            try:
                self._read(seconds)
            except TimeoutError:
                return None

    def nothing_comes(self) -> bool:
        """Return whether no message was pushed after several rounds of matching."""
        for _ in range(3):
            assert self.call("heartbeat", body={"leases": [], "gpus": []})[0] == 200
        return not self._pushes

    def closed(self) -> int:
        """Return the code with which the other side closes the connection."""
        try:
            while True:
                self._read()
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else closed.rcvd.code

    def _read(self, seconds: float = LIMIT_SECONDS) -> None:
        message = json.loads(self.connection.recv(timeout=seconds))
        if "push" in message:
            self.received += message["push"] == "lease"
            self._pushes.append(message)
        else:
            self._answers[message["id"]] = message
