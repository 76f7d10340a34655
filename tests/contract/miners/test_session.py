"""The miner protocol over the WebSocket: the calls are those over HTTP, and leases are pushed."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.dispatch import fleet
from agent.coordinator.operations.miners import sessions
from agent.coordinator.routes.miner_session import _MinerSocket
from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


@pytest.fixture
def socket(miner: ScriptedMiner) -> Iterator[Socket]:
    with Socket(miner) as socket:
        yield socket


def running(client: httpx.Client) -> int:
    total: int = client.get("/v1/jobs", params={"status": "running"}).json()["total"]
    return total


# Leases ---------------------------------------------------------------------------------------------------------------


def test_leases_are_pushed_only_to_free_slots(client: httpx.Client, socket: Socket) -> None:
    jobs = [submit(client) for _ in range(3)]
    socket.slots(2)
    assert [socket.lease()["job_id"], socket.lease()["job_id"]] == jobs[:2]
    assert socket.nothing_comes()
    assert running(client) == 2
    socket.slots(1)
    assert socket.lease()["job_id"] == jobs[2]


def test_a_later_job_is_pushed_immediately(client: httpx.Client, socket: Socket) -> None:
    socket.slots(1)
    assert socket.nothing_comes()
    job_id = submit(client)
    lease = socket.lease()
    assert (lease["job_id"], lease["fence"], lease["attempt"]) == (job_id, 1, 1)


def test_leases_in_transit_count_against_announced_slots(
    client: httpx.Client, miner: ScriptedMiner, socket: Socket
) -> None:
    """The miner announces its slots repeatedly before it has received the leases in transit."""
    for _ in range(12):
        submit(client)
    for _ in range(5):
        socket.slots(2, received=0)
    first, second = socket.lease(), socket.lease()
    assert socket.nothing_comes()
    assert running(client) == 2
    # Two runs end at different times; each announcement states the number received by then.
    assert miner.complete(first, RESULTS).status_code == 200
    socket.slots(1, received=2)
    socket.slots(1, received=2)
    assert miner.complete(second, RESULTS).status_code == 200
    socket.slots(2, received=2)
    socket.slots(2, received=2)
    leases = [socket.lease(), socket.lease()]
    assert socket.nothing_comes()
    assert running(client) == 2
    assert len({lease["job_id"] for lease in (first, second, *leases)}) == 4


def test_invalid_slots_give_no_leases(client: httpx.Client, socket: Socket) -> None:
    submit(client)
    for slots, received in ((None, 0), ("2", 0), (-1, 0), (1.5, 0), (1, None), (0, -5)):
        socket.connection.send(json.dumps({"call": "slots", "slots": slots, "received": received}))
    assert socket.nothing_comes()
    assert running(client) == 0


def test_a_cancellation_is_pushed(client: httpx.Client, socket: Socket) -> None:
    job_id = submit(client)
    socket.slots(1)
    lease = socket.lease()
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert socket.push("cancelled") == {"push": "cancelled", "job_id": job_id, "fence": lease["fence"]}


def test_a_cancellation_while_disconnected_is_pushed_at_the_next_connection(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    client.delete(f"/v1/jobs/{job_id}")
    with Socket(miner) as socket:
        assert socket.push("cancelled") == {"push": "cancelled", "job_id": job_id, "fence": lease["fence"]}


def test_a_lost_connection_does_not_end_a_lease(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    with Socket(miner) as socket:
        socket.slots(1)
        lease = socket.lease()
    with Socket(miner) as socket:
        body = {"leases": [{"job_id": job_id, "fence": lease["fence"]}], "gpus": []}
        _, answer = socket.call("heartbeat", body=body)
        assert answer["leases"][0]["status"] == "renewed"
        assert socket.call("result", job_id, miner.result_body(lease, RESULTS))[0] == 200
    assert job(client, job_id)["attempts"] == 1


class StuckSocket:
    """A WebSocket whose peer receives one frame and then disconnects."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.sent: list[str] = []
        self.stuck = asyncio.Event()

    async def send_text(self, text: str) -> None:
        if self.sent:
            self.stuck.set()
            await asyncio.Event().wait()
        self.sent.append(text)

    async def receive(self) -> dict[str, Any]:
        if self._slots:
            slots, self._slots = self._slots, 0
            message = {"call": "slots", "slots": slots, "received": 0}
            return {"type": "websocket.receive", "text": json.dumps(message)}
        await asyncio.wait_for(self.stuck.wait(), 60)
        return {"type": "websocket.disconnect"}


def test_leases_that_were_not_sent_are_requeued_without_an_attempt(
    client: httpx.Client, served: Served
) -> None:
    """Only leases passed to the network may have arrived; the other jobs wait for a miner immediately."""
    jobs = [submit(client) for _ in range(4)]
    miner = ScriptedMiner(served.url)
    miner.register()
    socket = StuckSocket(slots=4)

    async def connect(context: Any) -> None:
        session = await sessions.session_of(context, miner.registration["session_token"])
        await _MinerSocket(context, socket, session).serve()  # type: ignore[arg-type]  # has the methods that are used

    served.do(connect)
    assert served.context.dispatcher.connected(miner.miner_id) is None
    (sent,) = socket.sent
    shown = {job_id: job(client, job_id) for job_id in jobs}
    assert shown.pop(json.loads(sent)["lease"]["job_id"])["status"] == "running"
    states = sorted((each["status"], each["attempts"]) for each in shown.values())
    # One more was being sent when the connection broke, so it may have arrived.
    assert states == [("running", 1), ("submitted", 0), ("submitted", 0)]


def test_a_simultaneous_poll_does_not_stop_pushes(
    client: httpx.Client, miner: ScriptedMiner, socket: Socket
) -> None:
    """A miner that changes from polling to the WebSocket has both for a moment."""
    socket.slots(1)
    assert socket.nothing_comes()
    assert miner.poll(slots=0, wait=0.3) == []
    job_id = submit(client)
    assert socket.lease()["job_id"] == job_id


# Calls ----------------------------------------------------------------------------------------------------------------


class BothTransports:
    """Makes the same call over HTTP and over the WebSocket, each for a job of its own."""

    def __init__(self, client: httpx.Client, miner: ScriptedMiner, socket: Socket) -> None:
        self.client, self.miner, self.socket = client, miner, socket
        self.by_http = self._lease()
        self.by_socket = self._lease()

    def _lease(self) -> dict[str, Any]:
        submit(self.client)
        (lease,) = self.miner.poll()
        return lease

    def call(self, call: str, body: Any) -> tuple[int, Any]:
        """Return the response after checking that both transports give the same. `body` may be a function of the lease."""
        made = [body(lease) if callable(body) else {"fence": lease["fence"], **body} for lease in self.leases]
        answer = self.miner.http.post(f"/jobs/{self.by_http['job_id']}/{call}", json=made[0])
        over_http = (answer.status_code, answer.json() if answer.content else {})
        over_socket = self.socket.call(call, self.by_socket["job_id"], made[1])
        assert self._plain(over_socket) == self._plain(over_http)
        assert [job(self.client, lease["job_id"])["status"] for lease in self.leases] in (
            [status] * 2 for status in ("submitted", "running", "completed", "failed")
        )
        return over_socket

    @property
    def leases(self) -> list[dict[str, Any]]:
        return [self.by_http, self.by_socket]

    def _plain(self, answer: tuple[int, Any]) -> tuple[int, Any]:
        status, body = answer
        text = json.dumps(body)
        for lease in self.leases:
            text = text.replace(lease["job_id"].removeprefix("job_"), "ID")
        plain = json.loads(text)
        if "error" in plain:
            plain["error"]["request_id"] = ""
        return status, plain


@pytest.fixture
def both(client: httpx.Client, miner: ScriptedMiner, socket: Socket) -> BothTransports:
    return BothTransports(client, miner, socket)


def test_results_get_the_same_response_as_over_http(both: BothTransports, miner: ScriptedMiner) -> None:
    """This holds for refused, accepted, repeated and late results."""
    wrong = both.call("result", lambda lease: {**miner.result_body(lease, RESULTS), "results": {"text": "x"}})
    assert (wrong[0], wrong[1]["error"]["code"]) == (422, "RECEIPT_INVALID")
    first = both.call("result", lambda lease: miner.result_body(lease, RESULTS))
    assert (first[0], first[1]["status"]) == (200, "completed")
    assert both.call("result", lambda lease: miner.result_body(lease, RESULTS)) == first
    late = both.call("result", lambda lease: miner.result_body(lease, {**RESULTS, "text": "other"}))
    assert (late[0], late[1]["error"]["code"]) == (409, "STALE_LEASE")


@pytest.mark.parametrize(
    "results", [{"text": "no units"}, {"units": "many"}, {"units": None}, {"units": [1]}]
)
def test_a_result_without_units_is_refused(
    both: BothTransports, miner: ScriptedMiner, results: dict[str, Any]
) -> None:
    status, body = both.call(
        "result", lambda lease: {**miner.result_body(lease, RESULTS), "results": results}
    )
    assert (status, body["error"]["code"]) == (422, "RECEIPT_INVALID")


@pytest.mark.parametrize(("kind", "state"), [("retry", "submitted"), ("fail", "failed")])
def test_failures_get_the_same_response_as_over_http(both: BothTransports, kind: str, state: str) -> None:
    status, body = both.call("fail", {"kind": kind, "code": "BROKEN", "message": "It broke."})
    assert (status, body["status"]) == (200, state)


def test_releases_get_the_same_response_as_over_http(both: BothTransports) -> None:
    status, body = both.call("release", {"reason": "shutdown"})
    assert (status, body["status"]) == (200, "submitted")
    status, body = both.call("release", {"reason": "shutdown"})
    assert (status, body["error"]["code"]) == (409, "STALE_LEASE")


def test_events_get_the_same_response_as_over_http(both: BothTransports) -> None:
    progress = {"kind": "progress", "data": {"progress": 41, "units": "1.5"}}
    assert both.call("events", {"events": [progress, {"kind": "segment", "data": {"text": "Please"}}]}) == (
        204,
        {},
    )
    assert [job(both.client, lease["job_id"])["progress"] for lease in both.leases] == [41, 41]


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("fail", {"kind": "perhaps", "code": "BROKEN", "message": ""}),
        ("fail", {}),
        ("release", {"fence": 0}),
        ("events", {"events": [{"kind": "progress", "data": {"progress": "much"}}]}),
        ("events", {"events": [{"kind": "progress", "data": {"progress": 101}}]}),
        ("events", {"events": [{"kind": "progress", "data": {"progress": 1, "units": "-1"}}]}),
        ("result", {}),
    ],
)
def test_a_malformed_body_is_answered_with_422(both: BothTransports, call: str, body: dict[str, Any]) -> None:
    """The messages differ, because HTTP includes the position in the request."""
    made = {"fence": 1, **body}
    http = both.miner.http.post(f"/jobs/{both.by_http['job_id']}/{call}", json=made)
    status, answer = both.socket.call(call, both.by_socket["job_id"], made)
    for code, response in ((http.status_code, http.json()), (status, answer)):
        assert (code, response["error"]["code"]) == (422, "VALIDATION_ERROR")
        assert response["error"]["details"]["fields"]
    assert [job(both.client, lease["job_id"])["status"] for lease in both.leases] == ["running"] * 2


@pytest.mark.parametrize(
    "events", [[{"kind": "segment", "data": {}}], [{"kind": "progress", "data": {"progress": 1}}]]
)
def test_events_of_another_miners_run_are_refused(
    both: BothTransports, served: Served, events: list[dict[str, Any]]
) -> None:
    stranger = ScriptedMiner(served.url)
    stranger.register()
    answer = stranger.job(both.by_http, "events", events=events)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "STALE_LEASE")


def test_unknown_calls_get_an_error_and_the_connection_remains_open(socket: Socket) -> None:
    for call in ("dance", "", None, 7, [], {}):
        status, body = socket.call(call)
        assert (status, body["error"]["code"]) == (404, "NOT_FOUND")
    status, body = socket.call("result", "job_unknown", {"fence": 1, "envelope": {}, "results": {}})
    assert status == 422
    status, body = socket.call("release", "job_unknown", {"fence": 1})
    assert (status, body["error"]["code"]) == (409, "STALE_LEASE")
    for body in (None, [], "text", 5):
        assert socket.call("heartbeat", body={"leases": body})[0] == 422 if body != [] else True


def test_many_simultaneous_calls_get_their_own_responses(
    client: httpx.Client, miner: ScriptedMiner, socket: Socket
) -> None:
    """There are more than the coordinator processes at once, and they report progress of different jobs."""
    jobs = [submit(client) for _ in range(8)]
    socket.slots(8)
    leases = [socket.lease() for _ in jobs]
    calls = {}
    for number in range(160):
        lease = leases[number % 8]
        body = {
            "leases": [{"job_id": lease["job_id"], "fence": lease["fence"], "progress": number / 2}],
            "gpus": [],
        }
        calls[socket.send("heartbeat", body=body)] = lease["job_id"]
    for number, job_id in reversed(calls.items()):
        status, body = socket.answer(number)
        assert (status, [lease["job_id"] for lease in body["leases"]]) == (200, [job_id])


def test_changed_capabilities_take_effect_immediately(client: httpx.Client, served: Served) -> None:
    offered = capabilities()
    del offered["services"]["whisper_transcription"]
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offered)
    job_id = submit(client, wait=True)
    with Socket(miner) as socket:
        socket.slots(1)
        assert socket.nothing_comes()
        assert socket.call("heartbeat", body={"leases": [], "capabilities": capabilities()})[0] == 200
        assert socket.lease()["job_id"] == job_id


def test_capabilities_are_at_most_as_large_as_in_a_registration(client: httpx.Client, served: Served) -> None:
    miner = ScriptedMiner(served.url)
    miner.register()
    large = capabilities()
    for offer in large["services"].values():
        offer["models"] = [f"{number:0100}" for number in range(1000)]
    with Socket(miner) as socket:
        status, body = socket.call("heartbeat", body={"leases": [], "capabilities": large})
        assert (status, body["error"]["code"]) == (422, "VALIDATION_ERROR")
        assert "Offer fewer models" in body["error"]["message"]
        job_id = submit(client)
        socket.slots(1)
        assert socket.lease()["job_id"] == job_id, "the session goes on with what was offered before"


def test_of_a_miner_only_the_last_capabilities_are_held_in_memory(served: Served) -> None:
    """It may change them every second, and parsed they take several times as much memory as as text."""
    miner = ScriptedMiner(served.url)
    miner.register()

    async def read(context: Any) -> None:
        await context.database.read(fleet.known_miners, context.settings, context.clock())

    with Socket(miner) as socket:
        for cores in (8, 16, 32):
            offered = capabilities(cpu_cores=cores)
            assert socket.call("heartbeat", body={"leases": [], "capabilities": offered})[0] == 200
            served.do(read)
    held = [one for one in gc.get_objects() if isinstance(one, fleet._Parsed)]
    assert [one.candidate.miner_id for one in held].count(miner.miner_id) == 1


# Ends -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["Bearer session.miner_x.1.secret", "Bearer nonsense", "Basic eDp5", "Bearer "]
)
def test_an_unknown_token_closes_with_4401(miner: ScriptedMiner, header: str) -> None:
    miner.http.headers["Authorization"] = header
    with Socket(miner) as socket:
        assert socket.closed() == 4401


def test_a_guessed_secret_closes_with_4401(miner: ScriptedMiner) -> None:
    miner.http.headers["Authorization"] = miner.http.headers["Authorization"][:-1] + "_"
    with Socket(miner) as socket:
        assert socket.closed() == 4401


def test_a_newer_session_closes_the_older_one_with_4409(client: httpx.Client, miner: ScriptedMiner) -> None:
    """All its connections are closed immediately, as is each later one; the newer session works."""
    older = miner.http.headers["Authorization"]
    with Socket(miner) as first, Socket(miner) as second:
        for socket in (first, second):
            assert socket.nothing_comes()
        miner.register()
        assert [first.closed(), second.closed()] == [4409, 4409]
    newer = miner.http.headers["Authorization"]
    miner.http.headers["Authorization"] = older
    with Socket(miner) as socket:
        assert socket.closed() == 4409
    miner.http.headers["Authorization"] = newer
    job_id = submit(client)
    with Socket(miner) as socket:
        socket.slots(1)
        assert socket.lease()["job_id"] == job_id


@pytest.mark.parametrize("message", ["{", "", "[]", '"slots"', "null", "7", b"\xff\xfe", b"\x00" * 10])
def test_invalid_messages_close_with_1007(miner: ScriptedMiner, message: str | bytes) -> None:
    """The miner can connect again."""
    with Socket(miner) as socket:
        socket.connection.send(message)
        assert socket.closed() == 1007
    with Socket(miner) as socket:
        assert socket.nothing_comes()


def test_a_stopping_coordinator_closes_with_1012_and_accepts_the_token_after_a_restart(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        with serve(tmp_path / "data", open_enrolment=True) as served:
            miner = ScriptedMiner(served.url)
            miner.register()
            socket = stack.enter_context(Socket(miner))
            assert socket.nothing_comes()
        assert socket.closed() == 1012
    with serve(tmp_path / "data", open_enrolment=True) as served:
        miner.url = served.url
        with Socket(miner) as socket:
            assert socket.nothing_comes()
