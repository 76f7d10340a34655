"""Two replicas of a coordinator on one PostgreSQL, without sticky sessions: each request may go to either."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from urllib.parse import urlsplit

import httpx
import pytest
from openai import OpenAI

from support.agents import COMMAND, START_SECONDS, Agent
from support.clients.miner_socket import Socket
from support.clients.openai_jobs import ANSWER, LLM, QUESTION, TEXT, asking, register
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.clients.stream_socket import StreamSocket
from support.jobs import followed, job, submit
from support.servers import postgres
from support.servers.replicas import add_replica, two_replicas

pytestmark = pytest.mark.acceptance

TRANSCRIPT = {"text": "hi", "language": "en", "segments": [], "duration_seconds": 1.0, "units": "1"}
LIMIT_SECONDS = 180
REVOKED_SECONDS = 20
"""Less than a key is accepted without a look-up."""


@dataclass
class Pair:
    """Two replicas, and a client's requests to each. The first leads."""

    first: Agent
    second: Agent
    at_first: httpx.Client
    at_second: httpx.Client

    @property
    def key(self) -> str:
        key: str = self.first.file["client_key"]
        return key


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("replicas")
    with (
        postgres.running() as server,
        two_replicas(
            directory,
            server.new_database(),
            AITBC_COORDINATOR__OPEN_ENROLMENT="true",
        ) as (first, second),
        closing(_client(first)) as at_first,
        closing(_client(second)) as at_second,
    ):
        yield Pair(first, second, at_first, at_second)


def _client(replica: Agent) -> httpx.Client:
    headers = {"Authorization": f"Bearer {replica.file['client_key']}"}
    return httpx.Client(base_url=replica.url, headers=headers, timeout=120)


@pytest.fixture(params=["leader", "follower"])
def miner(request: pytest.FixtureRequest, pair: Pair) -> Iterator[ScriptedMiner]:
    """A miner of the leader, or of the other replica."""
    miner = ScriptedMiner((pair.first if request.param == "leader" else pair.second).url)
    assert miner.register().status_code == 200
    yield miner
    miner.http.close()


def other(pair: Pair, miner: ScriptedMiner) -> Agent:
    """Return the replica to which the miner is not connected."""
    return pair.second if miner.url == pair.first.url else pair.first


def test_a_job_of_one_replica_runs_on_a_miner_of_the_other_and_is_watched_there(
    pair: Pair, miner: ScriptedMiner
) -> None:
    """Its events arrive in order: running, then what its runner sends, then its end."""
    with closing(_client(other(pair, miner))) as client, Socket(miner) as socket:
        socket.slots(1)
        job_id = submit(client)
        lease = socket.lease()
        assert lease["job_id"] == job_id
        with followed(client, job_id) as events:
            state = next(events)[1]
            while state["status"] != "running":
                state = next(events)[1]
            sent = [{"kind": "segment", "data": {"text": str(number)}} for number in range(20)]
            for event in sent:
                answer = socket.call("events", job_id, {"fence": lease["fence"], "events": [event]})
                assert answer[0] == 204
            assert socket.call("result", job_id, miner.result_body(lease, TRANSCRIPT))[0] == 200
            received = list(events)
    assert [data["text"] for kind, data in received if kind == "job_event"] == [
        event["data"]["text"] for event in sent
    ]
    assert received[-1][1]["status"] == "completed"
    assert job(client=pair.at_second, job_id=job_id)["status"] == "completed"


@pytest.mark.needs("openai")
def test_a_chat_of_one_replica_is_streamed_by_a_miner_of_the_other(pair: Pair, miner: ScriptedMiner) -> None:
    register(miner)
    client = OpenAI(api_key=pair.key, base_url=f"{other(pair, miner).url}/v1", max_retries=0, timeout=120)
    pieces = [ANSWER[start : start + 4] for start in range(0, len(ANSWER), 4)]
    with client, Socket(miner) as socket:
        socket.slots(1)

        received: SimpleQueue[str] = SimpleQueue()

        def ask() -> None:
            for chunk in client.chat.completions.create(model=LLM, messages=QUESTION, stream=True):
                if chunk.choices:
                    received.put(chunk.choices[0].delta.content or "")

        with asking(ask) as answer:
            lease = socket.lease()
            assert received.get(timeout=LIMIT_SECONDS) == ""
            offset = 0
            for piece in pieces:
                event = {"kind": "token", "data": {"text": piece, "offset": offset}}
                body = {"fence": lease["fence"], "events": [event]}
                assert socket.call("events", lease["job_id"], body)[0] == 204
                assert received.get(timeout=LIMIT_SECONDS) == piece
                offset += len(piece)
            assert socket.call("result", lease["job_id"], miner.result_body(lease, TEXT))[0] == 200
            answer.result(LIMIT_SECONDS)
    assert received.get() == ""
    assert received.empty()


def test_a_stream_continues_on_the_other_replica_without_a_lost_or_repeated_change(pair: Pair) -> None:
    submitted: list[str] = []
    received: list[str] = []
    last = 0
    for number in range(6):
        replica, client = [(pair.first, pair.at_second), (pair.second, pair.at_first)][number % 2]
        query = {"after": last} if last else {}
        with StreamSocket(replica.url, pair.key, **query) as stream:
            submitted += [submit(client) for _ in range(5)]
            while len(received) < len(submitted) - 2:  # the others are missed, until the next connection
                message = stream.next()
                assert message["type"] != "resync"
                if message["type"] == "job_update":
                    received.append(message["data"]["job_id"])
                last = message["seq"]
    with StreamSocket(pair.first.url, pair.key, after=last) as stream:
        received += [stream.next()["data"]["job_id"] for _ in range(2)]
    assert received == submitted
    for job_id in submitted:
        assert pair.at_first.delete(f"/v1/jobs/{job_id}").status_code == 200


def test_live_messages_before_a_change_of_replica_are_reported_as_a_gap(pair: Pair) -> None:
    """Only to those who asked for them: the other replica has counted them differently."""
    types = "job_update,job_event"
    with StreamSocket(pair.first.url, pair.key) as stream:
        job_id = submit(pair.at_first)
        seq = stream.until(lambda message: message["type"] == "job_update")[-1]["seq"]
    with StreamSocket(pair.second.url, pair.key, after=seq, types=types) as stream:
        assert pair.at_first.delete(f"/v1/jobs/{job_id}").status_code == 200
        gap = stream.next()
        assert (gap["type"], gap["data"]["reason"]) == ("resync", "events")
        assert stream.next()["data"]["status"] == "cancelled"
    with StreamSocket(pair.second.url, pair.key, after=seq) as stream:
        assert stream.next()["data"]["status"] == "cancelled"


@pytest.mark.needs("tus")
def test_an_upload_continues_on_the_other_replica(pair: Pair) -> None:
    data = secrets.token_bytes(300_000)
    tus = {"Tus-Resumable": "1.0.0"}
    begun = pair.at_first.post("/v1/uploads", headers={**tus, "Upload-Length": str(len(data))})
    path = urlsplit(begun.headers["location"]).path
    sent = 0
    for client in (pair.at_first, pair.at_second, pair.at_first):
        assert client.head(path, headers=tus).headers["upload-offset"] == str(sent)
        headers = {**tus, "Upload-Offset": str(sent), "Content-Type": "application/offset+octet-stream"}
        answer = client.patch(path, headers=headers, content=data[sent : sent + 100_000])
        assert answer.status_code == 204, answer.text
        sent += 100_000
    artifact_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert answer.headers["upload-artifact-id"] == artifact_id
    assert pair.at_second.get(f"/v1/artifacts/{artifact_id}").content == data


def test_a_cancellation_reaches_the_miner_of_the_other_replica(pair: Pair, miner: ScriptedMiner) -> None:
    with closing(_client(other(pair, miner))) as client, Socket(miner) as socket:
        socket.slots(1)
        job_id = submit(client)
        fence = socket.lease()["fence"]
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
        assert socket.push("cancelled") == {"push": "cancelled", "job_id": job_id, "fence": fence}


def test_a_command_reaches_the_miner_of_the_other_replica(pair: Pair, miner: ScriptedMiner) -> None:
    headers = {"Authorization": f"Bearer {miner.registration['api_key']}"}
    with Socket(miner) as socket:
        socket.slots(1)
        url = f"{other(pair, miner).url}/v1/miners/{miner.miner_id}/pause"
        assert httpx.post(url, headers=headers).status_code == 202
        socket.push("heartbeat")
        status, answer = socket.call("heartbeat", body={"leases": [], "gpus": []})
        assert (status, answer["commands"][0]["command"]) == (200, "pause")


def test_a_new_session_on_one_replica_ends_the_connection_to_the_other(
    pair: Pair, miner: ScriptedMiner
) -> None:
    with Socket(miner) as socket:
        socket.slots(1)
        again = ScriptedMiner(other(pair, miner).url, key=miner.key)
        with closing(again.http):
            assert again.register().status_code == 200
            assert socket.closed() == 4409
            assert miner.http.post("/poll", json={"slots": 1, "wait": 0}).status_code in (401, 409)


def test_what_a_miner_offers_is_known_on_both_replicas_at_once(pair: Pair, miner: ScriptedMiner) -> None:
    """A poll that goes to one replica, after a heartbeat that went to the other, gets jobs for the new model."""
    there = other(pair, miner).url
    assert miner.poll(wait=0) == []
    offered = capabilities()
    offered["services"]["whisper_transcription"]["models"] = ["large-v3"]
    body = {"leases": [], "gpus": [], "capabilities": offered}
    headers = {"Authorization": miner.http.headers["Authorization"]}
    assert httpx.post(f"{there}/v1/miners/heartbeat", headers=headers, json=body).status_code == 200
    submit(pair.at_first, model="large-v3")
    (lease,) = miner.poll()
    assert miner.job(lease, "release", reason="shutdown").is_success
    assert pair.at_first.delete(f"/v1/jobs/{lease['job_id']}").status_code == 200


def test_a_key_that_is_revoked_on_one_replica_is_refused_by_the_other(pair: Pair) -> None:
    made = pair.at_first.post("/v1/keys", json={"name": "short-lived"}).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert pair.at_second.get("/v1/jobs", headers=headers).status_code == 200
    assert pair.at_first.delete(f"/v1/keys/{made['key_id']}").is_success
    end = time.monotonic() + REVOKED_SECONDS
    while pair.at_second.get("/v1/jobs", headers=headers).status_code != 401:
        assert time.monotonic() < end


def test_an_operator_sees_which_replica_leads(pair: Pair) -> None:
    """From each of them."""
    for replica, leads in ((pair.first, 1), (pair.second, 0)):
        shown = replica.status()["coordinator"]["replicas"]
        assert [(item["slot"], item["leads"]) for item in shown] == [(0, True), (1, False)]
        assert "replica 0 on" in (status := replica.cli("status").stdout)
        assert status.count(", leads") == 1
        headers = {"Authorization": f"Bearer {replica.file['admin_key']}"}
        metrics = httpx.get(f"{replica.url}/metrics", headers=headers, timeout=LIMIT_SECONDS).text
        assert f"aitbc_coordinator_leads {leads}.0\n" in metrics


def test_a_replica_with_another_key_or_other_artifacts_does_not_start(pair: Pair) -> None:
    replica = add_replica(pair.first, "stranger")
    directory = replica.data_dir / "coordinator"
    key = (directory / "links.key").read_bytes()
    (directory / "links.key").write_bytes(key[::-1])
    assert "links.key is not the key" in _refusal(replica)
    (directory / "links.key").write_bytes(key)
    keys = (directory / "keys.json").read_bytes()
    (directory / "keys.json").unlink()
    assert f"{directory / 'keys.json'} is missing" in _refusal(replica)
    (directory / "keys.json").write_bytes(keys)
    (directory / "elsewhere").mkdir()
    replica.environment = replica.environment | {"AITBC_ARTIFACTS__URL": (directory / "elsewhere").as_uri()}
    assert "mount a shared volume there" in _refusal(replica)


def _refusal(replica: Agent) -> str:
    done = subprocess.run(
        [COMMAND, *replica.options],
        env={**replica.environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    return " ".join(done.stderr.split())
