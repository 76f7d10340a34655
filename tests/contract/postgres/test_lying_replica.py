"""A replica that lies to another one: it has the database, and sends what it likes. The other goes on with its work."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.clients.stream_socket import StreamSocket
from support.jobs import submit
from support.server import Served, serve

pytestmark = pytest.mark.system

LIMIT_SECONDS = 180
LOCKS = 1095783233
SLOT = 7
SEED = 20
GENERATED = 400
RESULTS = {"text": "hi", "language": "en", "segments": [], "duration_seconds": 1.0, "units": "1"}
KINDS = ("port", "free", "ended", "lease", "cancelled", "heartbeat", "end", "capabilities", "calls", "forget", "live")  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**53, 2**63 - 1, 2**64, 1.5, 1e308, "", "x" * 5000, "\ud800", [], {}, [[]], {"id": []},
    "miner_a", "job_a", "liar", [1, 2, 3], ["job_event", {}, [], [], []],
)  # fmt: skip


class Liar:
    """A program that takes part as a replica, and is never idle, so that the others do not end it."""

    def __init__(self, served: Served) -> None:
        url = served.context.database.server.url  # type: ignore[attr-defined] # of PostgreSQL
        self.connection = psycopg.connect(url, autocommit=True)
        self._served = served
        self._number = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._stay)
        self.execute("SELECT pg_advisory_lock(%s, %s)", LOCKS, SLOT)
        self.name("liar")
        self._thread.start()
        self.until(lambda: "liar" in served.context.features.cluster.bus.peers)

    def name(self, replica_id: str, slot: int = SLOT) -> None:
        """Store an id for the replica of a slot."""
        self.execute(
            "INSERT INTO replicas (slot, replica_id, version, started_at, reply_seconds) VALUES (%s, %s, '9', now(), 12) "
            "ON CONFLICT (slot) DO UPDATE SET replica_id = excluded.replica_id",
            slot, replica_id,
        )  # fmt: skip
        self.execute("SELECT pg_notify('aitbc_replicas', '')")

    def execute(self, statement: str, *parameters: Any) -> None:
        self.connection.execute(statement.encode(), parameters)

    def send_text(self, payload: str, spaces: int = 0) -> None:
        self._number += 1
        self.execute(
            "INSERT INTO replica_messages (sender, number, payload) VALUES ('liar', %s, %s || repeat(' ', %s))",
            self._number, payload, spaces,
        )  # fmt: skip

    def send(self, *batch: tuple[str, Any]) -> None:
        self.send_text(json.dumps(batch))

    def drain(self) -> None:
        """Wait until all messages have been handled."""
        self._served.do(lambda context: context.features.cluster.bus.drain())

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    def _stay(self) -> None:
        while not self._stopping.wait(0.2):
            self.execute("SELECT 1")

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.connection.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", open_enrolment=True, lease_seconds=3, heartbeat_seconds=1) as served:
        yield served


@pytest.fixture
def liar(served: Served) -> Iterator[Liar]:
    with closing(Liar(served)) as liar:
        yield liar


def work(served: Served) -> None:
    """Submit, run and watch a job. A lease that a lying replica has accepted for a miner of its own expires."""
    miner = ScriptedMiner(served.url)
    assert miner.register().status_code == 200
    headers = {"Authorization": f"Bearer {served.client_key}"}
    with (
        closing(miner.http),
        httpx.Client(base_url=served.url, headers=headers, timeout=LIMIT_SECONDS) as client,
        StreamSocket(served.url, served.client_key) as stream,
    ):
        job_id = submit(client)
        leases: list[dict[str, Any]] = []
        deadline = time.monotonic() + LIMIT_SECONDS
        while not leases and time.monotonic() < deadline:
            leases = miner.poll(wait=1)
        (lease,) = leases
        assert lease["job_id"] == job_id
        assert miner.complete(lease, RESULTS).status_code == 200
        stream.until(lambda message: message["data"].get("status") == "completed")
    ended = served.context.monitoring.liveness.overdue(float("-inf"))
    assert ended == {}, "no task has ended"


def odd(choose: random.Random, depth: int = 0) -> Any:
    """Return a value that no replica would send, or that only a careless handler accepts."""
    match choose.randrange(3 if depth < 3 else 1):
        case 0:
            return choose.choice(ODD)
        case 1:
            return [odd(choose, depth + 1) for _ in range(choose.randrange(5))]
        case _:
            names = ("id", "miner_id", "session", "slots", "batches", "taken", "capabilities", "lease", "job_id", "fence", "before", "reason")  # fmt: skip
            return {
                name: odd(choose, depth + 1) for name in choose.sample(names, choose.randrange(len(names)))
            }


def nearly_true(choose: random.Random) -> tuple[str, Any]:
    """Return a message as a replica sends it, with one value replaced by an odd one."""
    lease = {"job_id": "job_a", "fence": 1, "service": "whisper_transcription", "spec": {"model": "base"}}
    port = {"id": 1, "slots": 1, "batches": [], "taken": {}}
    offered = capabilities()
    true: dict[str, Any] = {
        "port": {**port, "miner_id": "miner_a", "session": 1, "capabilities": offered},
        "free": port,
        "lease": {"id": 1, "miner_id": "miner_a", "lease": lease},
        "cancelled": {"id": 1, "job_id": "job_a", "fence": 1},
        "end": {"miner_id": "miner_a", "before": 1, "reason": "Unauthorized", "message": ""},
        "capabilities": {"miner_id": "miner_a", "session": 1, "capabilities": offered},
    }
    kind = choose.choice(list(true))
    item = true[kind]
    # At any depth.
    while (
        inner := [value for value in item.values() if isinstance(value, dict) and value]
    ) and choose.random() < 0.7:
        item = choose.choice(inner)
    item[choose.choice(list(item))] = odd(choose)
    return kind, true[kind]


def test_attack_generated_messages_neither_stop_nor_mislead_a_replica(served: Served, liar: Liar) -> None:
    choose = random.Random(SEED)  # noqa: S311 - no secret
    for _ in range(GENERATED):
        liar.send(nearly_true(choose), (choose.choice(KINDS), odd(choose)))
    liar.drain()
    work(served)


ROWS = (
    "", "nonsense", "null", "3", '{"port": 1}', "[3]", '[["port"]]', '[[["port"], 1]]', "[" * 100_000, "[NaN]",
    '[["live", [1, [["job_event", ' + '{"a": ' * 900 + "1" + "}" * 900 + ", null, null, null]]]]]",
)  # fmt: skip


def test_attack_rows_that_are_no_messages(served: Served, liar: Liar) -> None:
    """Nor does a row hide the messages behind it, and one of enormous size is not read."""
    liar.send_text("[]", spaces=2**26)
    for payload in ROWS:
        liar.send_text(payload)
    forgotten = served.context.caches.supply_changes
    liar.send(("forget", ["supply"]))
    liar.drain()
    assert served.context.caches.supply_changes > forgotten
    work(served)


def test_attack_a_port_that_cannot_be_matched(served: Served, liar: Liar) -> None:
    offered = capabilities() | {"memory": "much"}
    port = {"id": 1, "slots": 1, "batches": [], "taken": {}, "miner_id": "miner_a", "session": 1}
    liar.send(("port", port | {"capabilities": offered}))
    liar.drain()
    assert served.context.dispatcher.connected("miner_a") is None
    work(served)


def test_attack_live_messages_after_changes_that_do_not_exist(served: Served, liar: Liar) -> None:
    """Otherwise the replica would publish no change until that number."""
    liar.send(("live", [2**50, [["job_event", {}, None, None, None]]]))
    liar.send(("live", [0, [["job_event", {}, ["no account"], None, None]]]))
    liar.drain()
    work(served)


def test_attack_rows_of_members(served: Served, liar: Liar) -> None:
    """A replica whose row was changed joins again; one that has another's id, or an impossible slot, changes nothing."""
    cluster = served.context.features.cluster
    mine = cluster.bus.replica_id
    liar.name(mine)
    liar.name("nobody", slot=-3)
    liar.until(lambda: "liar" not in cluster.bus.peers)
    assert mine not in cluster.bus.peers
    liar.name("liar", slot=SLOT)
    liar.name("stolen", slot=cluster.slot)
    liar.until(lambda: cluster.bus.replica_id != mine and "liar" in cluster.bus.peers)
    liar.until(lambda: cluster.leadership.leads)
    work(served)
