"""A steady load on replicas behind a load balancer: clients that submit small jobs, and miners that complete them, through failures."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx
from websockets.exceptions import WebSocketException

from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER

PIECE = 64 * 1024
RATE = 16.0
"""Jobs submitted per second: fewer than one miner completes on a busy machine with two processors."""
SUBMITTERS = 4
SLOTS = 4
HEARTBEAT_SECONDS = 1.0
RESULTS = {"text": "hi", "language": "en", "segments": [], "duration_seconds": 1.0, "units": "1"}


class Balancer:
    """A load balancer for TCP that sends each connection to the next target that accepts it. `targets` returns their ports."""

    def __init__(self, targets: Callable[[], Sequence[int]]) -> None:
        self._targets = targets
        self._turn = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        targets = self._targets()
        first = next(self._turn)
        for offset in range(len(targets)):
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", targets[(first + offset) % len(targets)]))
                threading.Thread(target=_pass, args=(server, client), daemon=True).start()
                _pass(client, server)
                return
        client.close()


def _pass(source: socket.socket, target: socket.socket) -> None:
    for end in (source, target):
        with suppress(OSError):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Load:
    """Submits so many jobs per second and completes them. What cannot be submitted in time is submitted later.

    `accepted` has the time of each accepted result by job and fence.
    """

    def __init__(self, url: str, key: str, miners: int = 2, rate: float = RATE) -> None:
        self.url = url
        self._interval = SUBMITTERS / rate
        self.submitted: dict[str, float] = {}
        self.accepted: dict[tuple[str, int], float] = {}
        self.refused: Counter[int] = Counter()
        self.stopping = threading.Event()
        self.miners = [LoadMiner(self) for _ in range(miners)]
        self._key = key
        self._threads = [
            threading.Thread(target=self._submit, args=(number,)) for number in range(SUBMITTERS)
        ]

    def start(self) -> None:
        for miner in self.miners:
            miner.start()
        for thread in self._threads:
            thread.start()

    def rate(self, begin: float, end: float) -> float:
        """Return the results per second that were accepted between two moments."""
        return sum(begin <= moment < end for moment in list(self.accepted.values())) / (end - begin)

    def drain(self, seconds: float) -> None:
        """Submit no more jobs, and wait until all have ended."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        end = time.monotonic() + seconds
        # The miners also complete jobs of others.
        while missing := set(self.submitted) - {job_id for job_id, _ in list(self.accepted)}:
            if time.monotonic() > end:
                raise AssertionError(f"{len(missing)} jobs have not ended, such as {sorted(missing)[:3]}")
            time.sleep(0.05)
        for miner in self.miners:
            miner.stop()

    def _submit(self, thread: int) -> None:
        body = {"type": "whisper-transcription", "parameters": WHISPER}
        with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=300) as client:
            due = time.monotonic() + thread * self._interval / SUBMITTERS
            for number in itertools.count():
                if self.stopping.wait(max(0.0, due - time.monotonic())):
                    return
                due += self._interval
                answer = _patiently(
                    lambda number=number: client.post(
                        f"{self.url}/v1/jobs",
                        json=body,
                        headers={"Idempotency-Key": f"load-{thread}-{number}"},
                    )
                )
                assert answer.status_code == 201, answer.text
                self.submitted[answer.json()["job_id"]] = time.monotonic()


def _patiently(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Repeat a request while no replica answers it."""
    while True:
        with suppress(httpx.TransportError):
            answer = call()
            if answer.status_code not in (500, 502, 503):
                return answer
        time.sleep(0.02)


class LoadMiner:
    """A miner that completes each lease at once, over a WebSocket that it opens again when it breaks."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._miner = ScriptedMiner(load.url)
        self._unsent: dict[tuple[str, int], dict[str, Any]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        assert self._miner.register().status_code == 200
        self._thread.start()

    def stop(self) -> None:
        """End abruptly, without a word to the coordinator."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with (
                suppress(WebSocketException, OSError, TimeoutError, EOFError),
                Socket(self._miner) as connection,
            ):
                self._serve(connection)
            self._stopped.wait(0.05)

    def _serve(self, connection: Socket) -> None:
        beat_at = 0.0
        for lease in list(self._unsent.values()):
            self._deliver(connection, lease)
        connection.slots(SLOTS)
        while not self._stopped.is_set():
            if time.monotonic() >= beat_at:
                leases = [{"job_id": job_id, "fence": fence, "progress": 0} for job_id, fence in self._unsent]
                connection.call("heartbeat", body={"leases": leases, "gpus": []})
                beat_at = time.monotonic() + HEARTBEAT_SECONDS
            lease = connection.next_lease(HEARTBEAT_SECONDS)
            if lease is None:
                continue
            self._unsent[lease["job_id"], lease["fence"]] = lease
            self._deliver(connection, lease)
            connection.slots(SLOTS)

    def _deliver(self, connection: Socket, lease: dict[str, Any]) -> None:
        status, _ = connection.call("result", lease["job_id"], self._miner.result_body(lease, RESULTS))
        key = lease["job_id"], lease["fence"]
        if status == 200:
            self._load.accepted[key] = time.monotonic()
        elif status in (500, 503):
            return  # delivered again over the next connection
        else:
            self._load.refused[status] += 1
        del self._unsent[key]
