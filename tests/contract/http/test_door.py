"""Checks before a request is read: keys, hosts, origins, sizes, deadlines, and limits on connections."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support.clients.miner_socket import Socket
from support.clients.raw_http import RawConnection
from support.clients.scripted_miner import ScriptedMiner
from support.clients.stream_socket import StreamSocket
from support.features import is_installed
from support.jobs import submit
from support.server import Served, serve

LARGE = str(57 * 2**20)


def metric(served: Served, name: str, **labels: str) -> float:
    shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
    line = f"{name}{{{shown}}} " if labels else f"{name} "
    found = [text for text in httpx.get(f"{served.url}/metrics").text.splitlines() if text.startswith(line)]
    return float(found[0].removeprefix(line)) if found else 0


# Keys


GUARDED = (
    ("POST", "/v1/jobs"),
    ("POST", "/api/v1/jobs"),
    ("POST", "/v1/miners/jobs/job_1/result"),
    ("POST", "/v1/miners/heartbeat"),
    ("POST", "/v1/services/ffmpeg/transcode"),
    ("POST", "/v1/artifacts"),
    ("PUT", "/v1/jobs/job_1/files/a.py"),
    ("POST", "/v1/admin/keys"),
    *(
        (("POST", "/v1/chat/completions"), ("POST", "/v1/audio/transcriptions"))
        if is_installed("openai")
        else ()
    ),
)


def test_a_large_body_without_a_valid_key_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with serve(tmp_path / "data", rate_limits={"failures": "1000 per minute"}) as served:
        for method, path in GUARDED:
            for key in (None, "aitbc_client_wrong", "session.a.1.b"):
                headers = {"Content_Type": "application/json", "Content_Length": LARGE}
                if key is not None:
                    headers["Authorization"] = f"Bearer {key}"
                with RawConnection(served.url) as connection:
                    connection.begin(method, path, **headers)
                    connection.send('{"type": ')  # and no more: the answer does not wait for it
                    status, answered, body = connection.answer()
                assert (status, body["error"]["code"]) == (401, "UNAUTHORIZED"), (path, key)
                assert answered["www-authenticate"] == "Bearer"
                assert body["error"]["request_id"] == answered["x-request-id"]
        assert metric(served, "aitbc_coordinator_refused_requests_total", reason="key") == len(GUARDED) * 3


def test_little_is_read_after_the_refusal(served: Served) -> None:
    with RawConnection(served.url) as connection:
        connection.begin("POST", "/v1/jobs", Content_Type="application/json", Content_Length=LARGE)
        assert connection.answer()[0] == 401
        sent = connection.send_until_cut([b"x" * 2**16] * (int(LARGE) // 2**16))
        assert connection.ended()
    # The limit of 256 KiB, plus the buffers of the two kernels.
    assert sent < 16 * 2**20


def test_a_small_body_without_a_key_does_not_close_the_connection(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        for _ in range(3):
            answer = client.post("/v1/jobs", json={"type": "x" * 1000})
            assert answer.status_code == 401
            assert client.get("/v1/health").status_code == 200
        assert metric(served, "aitbc_coordinator_connections", kind="without_key") <= 2


def test_calls_without_a_key_accept_only_small_bodies(served: Served) -> None:
    for path in ("/v1/miners/register", "/v1/receipts/verify", "/v1/registry/services/validate", "/v1/login"):
        with RawConnection(served.url) as connection:
            connection.begin("POST", path, Content_Type="application/json", Content_Length="300000")
            status, _, body = connection.answer()
            assert (status, body["error"]["code"], body["error"]["details"]) == (
                413,
                "PAYLOAD_TOO_LARGE",
                {"limit": 262_144},
            )


def test_only_a_miners_result_may_exceed_the_body_limit(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    size = str(5 * 2**20)
    token = miner.http.headers["Authorization"]
    for path, key in (
        ("/v1/jobs", f"Bearer {served.client_key}"),
        ("/v1/miners/heartbeat", token),
        ("/v1/miners/jobs/job_1/result", f"Bearer {served.client_key}"),
    ):
        with RawConnection(served.url) as connection:
            connection.begin(
                "POST", path, Content_Type="application/json", Content_Length=size, Authorization=key
            )
            assert connection.answer()[0] == 413
    submit(client)
    (lease,) = miner.poll()
    results = {"text": "x" * (5 * 2**20), "processing_time": 1.0, "units": 1.0}
    assert miner.complete(lease, results).status_code == 200


def test_a_large_body_of_many_values_is_refused_without_blocking_other_requests(served: Served) -> None:
    many = b'{"type": [' + b"[]," * 150_000 + b"[]]}"
    answer = _post(served, many)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    # The maximum number of values, with every JSON construct: it is decoded, as the error about its type shows.
    few = json.dumps(
        {"type": "x", "name": "\ud83d\ude00 \u00e9" * 60_000, "parameters": {"a": [1, 2.5, None, True]}}
    ).encode()
    assert _post(served, few).status_code in (400, 422)
    assert "not valid JSON" in _post(served, few[:-1]).json()["error"]["message"]


def _post(served: Served, body: bytes, path: str = "/v1/jobs", key: str | None = "client") -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["X-API-Key"] = served.client_key if key == "client" else served.admin_key
    return httpx.post(f"{served.url}{path}", content=body, headers=headers, timeout=300)


@pytest.mark.parametrize("padding", [b"", b" " * 300_000])
def test_attack_clients_send_at_most_so_many_values(served: Served, padding: bytes) -> None:
    """Each value costs time whenever the job is read again. Sent both as a small body, and as one that the thread decodes."""
    base = {
        "type": "ai-inference",
        "model": {"entrypoint": "model.py", "source": {"inline": "x"}},
        "wait": True,
    }

    def body(parameters: dict[str, Any]) -> bytes:
        return json.dumps({**base, "parameters": parameters}, separators=(",", ":")).encode() + padding

    for parameters in (
        {"x": [0] * 20_001},
        {"x": [[[]]] * 9000},
        {str(number): 0 for number in range(20_001)},
    ):
        answer = _post(served, body(parameters))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE"), answer.text
        assert "POST /v1/artifacts" in answer.json()["error"]["message"]
    # Commas and brackets in texts are no values.
    for text in ("a, [b], {c}" * 8000, '\\",[' * 15_000):
        assert _post(served, body({"x": [0] * 15_000, "y": text})).status_code == 201
    keyless = {"service_id": "ai_inference", "request_data": {"parameters": {"x": [0] * 20_001}}}
    validated = json.dumps(keyless, separators=(",", ":")).encode()
    assert _post(served, validated, "/v1/registry/services/validate", None).status_code == 413
    many = json.dumps({"token": [0] * 20_001}, separators=(",", ":")).encode()
    assert _post(served, many, "/v1/session", None).status_code == 413
    assert _post(served, many, "/v1/session", "admin").status_code == 422, "administrators send long lists"


@pytest.mark.parametrize("padding", [b"", b" " * 300_000])
def test_attack_an_object_of_many_unknown_fields_has_one_error(served: Served, padding: bytes) -> None:
    many = {f"temperature_{number}": 1 for number in range(5000)}
    fields = "it has 5000 fields, and no request has more than 200"
    nested = _post(
        served, json.dumps({"type": "whisper_transcription", "parameters": many}).encode() + padding
    )
    assert (nested.status_code, nested.json()["error"]["details"]["fields"]) == (422, {"parameters": fields})
    outer = _post(served, json.dumps(many).encode() + padding)
    assert (outer.status_code, outer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert fields in outer.json()["error"]["message"]
    labels = {f"a b{number}": "\x01" for number in range(5000)}
    answer = _post(served, json.dumps({"type": "whisper_transcription", "labels": labels}).encode() + padding)
    expected = {"labels": "a job may have at most 1000 labels, and this one has 5000"}
    assert (answer.status_code, answer.json()["error"]["details"]["fields"]) == (422, expected)


# Sizes of WebSocket messages


def test_a_stream_refuses_large_messages(served: Served) -> None:
    for key in (served.client_key, None):
        with StreamSocket(served.url, key) as stream:
            stream.connection.send("x" * (2**20))
            with pytest.raises(ConnectionClosed) as closed:
                stream.connection.recv(timeout=120)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


def test_the_miners_path_refuses_large_messages_without_a_session(
    served: Served, miner: ScriptedMiner
) -> None:
    miner.http.headers["Authorization"] = "Bearer session.wrong.1.x"
    with Socket(miner) as socket:
        assert socket.closed() in (4401, 1009)


def test_a_miner_may_send_a_result_as_large_as_the_limit(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    submit(client)
    with Socket(miner) as socket:
        socket.slots(1)
        lease = socket.lease()
        results = {"text": "x" * (8 * 2**20), "processing_time": 1.0, "units": 1.0}
        assert socket.call("result", lease["job_id"], miner.result_body(lease, results))[0] == 200
        socket.connection.send("[" + "[]," * 3_000_000 + "[]]")
        assert socket.closed() == 1009


# Host names


def test_on_loopback_only_known_names_are_answered(served: Served) -> None:
    port = httpx.URL(served.url).port
    for host in ("127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "10.1.2.3", "app.localhost"):
        for name in (host, f"{host}:{port}"):
            assert httpx.get(f"{served.url}/metrics", headers={"Host": name}).status_code == 200, name
    for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example"):
        for path in ("/metrics", "/v1/health", "/", "/v1/registry/services"):
            answer = httpx.get(f"{served.url}{path}", headers={"Host": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (421, "UNKNOWN_HOST"), (name, path)
            assert answer.headers["X-Request-ID"] == answer.json()["error"]["request_id"]
        with (
            pytest.raises(InvalidStatus) as refused,
            StreamSocket(served.url, served.client_key, headers={"Host": name}),
        ):
            pass
        assert refused.value.response.status_code == 421
    with RawConnection(served.url) as connection:
        connection.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.answer()[0] == 421


def test_host_names_can_be_added(tmp_path: Path) -> None:
    with serve(tmp_path / "data", hosts=("jobs.example.org", "*.farm.example")) as served:
        for name, status in (
            ("jobs.example.org", 200),
            ("Jobs.Example.org:443", 200),
            ("rig.farm.example", 200),
            ("farm.example", 421),
            ("other.example.org", 421),
        ):
            assert httpx.get(f"{served.url}/v1/health", headers={"Host": name}).status_code == status, name


def test_beyond_loopback_any_name_is_answered_but_only_known_names_may_read_metrics(tmp_path: Path) -> None:
    """For example behind a container's published port, where the coordinator cannot know its names."""
    with serve(tmp_path / "data", host="192.0.2.1") as served:
        headers = {"Host": "gpu-box.lan:8420"}
        assert httpx.get(f"{served.url}/v1/health", headers=headers).status_code == 200
        assert httpx.get(f"{served.url}/metrics", headers=headers).status_code == 401
        assert httpx.get(f"{served.url}/metrics").status_code == 200


def test_a_trusted_proxy_may_forward_any_name(tmp_path: Path) -> None:
    with serve(tmp_path / "data", trusted_proxies=("127.0.0.1",)) as served:
        headers = {"Host": "jobs.example.org", "X-Forwarded-For": "203.0.113.9"}
        assert httpx.get(f"{served.url}/v1/health", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_site_cannot_open_a_websocket(served: Served, origin: str) -> None:
    for path in ("/ws", "/v1/ws", "/v1/miners/session"):
        headers = {"Origin": origin, "Authorization": f"Bearer {served.client_key}"}
        with pytest.raises(InvalidStatus) as refused, StreamSocket(served.url, path=path, headers=headers):
            pass
        assert refused.value.response.status_code == 403


def test_the_coordinators_own_pages_and_configured_origins_can_open_websockets(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cors_origins=("https://app.example.org",)) as served:
        for origin in (served.url, "https://app.example.org"):
            headers = {"Origin": origin, "Authorization": f"Bearer {served.client_key}"}
            with StreamSocket(served.url, headers=headers) as stream:
                stream.subscribe()


# Deadlines


def limited(**limits: Any) -> dict[str, Any]:
    return {"connections": limits}


def test_a_missing_head_ends_the_connection(tmp_path: Path) -> None:
    with serve(tmp_path / "data", **limited(head_seconds=0.3)) as served:
        for beginning in ("", "GET /v1/hea", "\r\n", "GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-A: "):
            with RawConnection(served.url) as connection:
                connection.send(beginning)
                status, headers, body = connection.answer()
                assert (status, body["error"]["code"], headers["connection"]) == (
                    408,
                    "REQUEST_TIMEOUT",
                    "close",
                )
                assert connection.ended()
        assert metric(served, "aitbc_coordinator_connections_closed_total", reason="head") == 4


def _slowly(text: str) -> Iterator[str]:
    for letter in text:
        yield letter
        time.sleep(0.02)  # the attack's pace, not a synchronisation


def test_a_head_that_arrives_byte_by_byte_times_out(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", **limited(head_seconds=0.5)) as served,
        RawConnection(served.url) as connection,
    ):
        begun = time.monotonic()
        connection.begin("GET", "/v1/health")
        assert connection.answer()[0] == 200  # and so is the second request's on the same connection
        connection.send_until_cut(_slowly(f"GET /v1/health HTTP/1.1\r\nX-A: {'a' * 10_000}"))
        assert time.monotonic() - begun < 120


def test_an_endless_head_is_refused(served: Served) -> None:
    with RawConnection(served.url) as connection:
        connection.send("GET /v1/health HTTP/1.1\r\n")
        connection.send_until_cut(f"X-{number}: {'a' * 1000}\r\n" for number in range(100_000))
    assert metric(served, "aitbc_coordinator_connections_closed_total", reason="head_size") == 1


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/artifacts"])
def test_a_missing_body_ends_the_request(tmp_path: Path, path: str) -> None:
    with (
        serve(tmp_path / "data", **limited(body_seconds=0.4)) as served,
        RawConnection(served.url) as connection,
    ):
        key = f"Bearer {served.client_key}"
        connection.begin(
            "POST", path, Content_Type="application/json", Content_Length="1000", Authorization=key
        )
        connection.send('{"type":')
        status, headers, body = connection.answer()
        assert (status, body["error"]["code"], headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")
        assert connection.ended()
        assert metric(served, "aitbc_coordinator_connections_closed_total", reason="body") == 1


def test_a_slow_body_above_the_minimum_rate_is_accepted(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", **limited(body_seconds=0.4, body_rate=1000)) as served,
        RawConnection(served.url) as connection,
    ):
        key = f"Bearer {served.client_key}"
        connection.begin("POST", "/v1/artifacts", Content_Length="20000", Authorization=key)
        for _ in range(10):
            connection.send(b"x" * 2000)
            time.sleep(0.2)  # the client's pace: a tenth of the bytes would be too few
        assert connection.answer()[0] in (200, 201)


def test_a_client_that_does_not_read_is_disconnected(tmp_path: Path) -> None:
    with serve(tmp_path / "data", **limited(send_seconds=1)) as served:
        headers = {"Authorization": f"Bearer {served.client_key}"}
        with httpx.Client(base_url=served.url, headers=headers) as client:
            stored = client.post("/v1/artifacts", content=b"\0" * (64 * 2**20), timeout=300).json()
        with RawConnection(served.url, buffer=4096) as connection:
            connection.begin(
                "GET", f"/v1/artifacts/{stored['artifact_id']}", Authorization=headers["Authorization"]
            )
            end = time.monotonic() + 60
            while not metric(served, "aitbc_coordinator_connections_closed_total", reason="send"):
                assert time.monotonic() < end
            received = 0
            while part := connection.socket.recv(2**20):  # what the kernels still hold
                received += len(part)
            assert received < 16 * 2**20


def test_a_websocket_client_that_sends_pings_and_reads_no_pongs_is_disconnected(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", **limited(send_seconds=1)) as served,
        RawConnection(served.url, buffer=4096) as connection,
    ):
        connection.begin(
            "GET", "/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Authorization=f"Bearer {served.client_key}",
        )  # fmt: skip
        assert connection.answer()[0] == 101
        ping = b"\x89\xfd" + bytes(4) + bytes(125)
        connection.send_until_cut(ping * 100 for _ in range(100_000))


# Limits on connections


def test_an_address_over_its_limit_loses_its_oldest_connection(tmp_path: Path) -> None:
    with serve(tmp_path / "data", **limited(per_address=5)) as served:
        neighbour = RawConnection(served.url, source="127.0.0.9")
        first, *others = [RawConnection(served.url, source="127.0.0.7") for _ in range(5)]
        known = httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {served.client_key}"})
        with known, neighbour:
            assert known.get("/v1/key").status_code == 200
            others.append(RawConnection(served.url, source="127.0.0.7"))
            assert first.ended()
            for connection in (neighbour, *others):
                connection.begin("GET", "/v1/health")
                assert connection.answer()[0] == 200
            for connection in others:
                connection.socket.close()


def test_a_full_coordinator_admits_new_connections_and_retains_those_with_a_key(tmp_path: Path) -> None:
    """127.0.0.1 is the client; every other connection has its own address."""
    with serve(tmp_path / "data", **limited(maximum=20)) as served:
        headers = {"Authorization": f"Bearer {served.client_key}"}
        with (
            httpx.Client(base_url=served.url, headers=headers) as known,
            StreamSocket(served.url, served.client_key) as stream,
        ):
            assert known.get("/v1/key").status_code == 200
            flood = [RawConnection(served.url, source=f"127.0.1.{number}") for number in range(1, 60)]
            assert known.get("/v1/key").status_code == 200
            assert httpx.get(f"{served.url}/v1/key", headers=headers).status_code == 200
            stream.subscribe()
            assert flood[0].ended()
            for connection in flood:
                connection.socket.close()
        assert metric(served, "aitbc_coordinator_connections_limit") == 20
        assert metric(served, "aitbc_coordinator_connections_closed_total", reason="full") >= 35


def test_the_keys_of_an_account_share_its_limit_of_streams(tmp_path: Path) -> None:
    with serve(tmp_path / "data", streams={"connections_per_account": 3}) as served:
        headers = {"Authorization": f"Bearer {served.client_key}"}
        with httpx.Client(base_url=served.url, headers=headers) as client:
            keys = [
                client.post("/v1/keys", json={"name": f"key {number}"}).json()["key"] for number in range(4)
            ]
        opened = [StreamSocket(served.url, key) for key in keys]
        for stream in opened[:3]:
            stream.__enter__().subscribe()
        with opened[3] as refused:
            code, error = refused.refusal()
            assert (code, error["code"]) == (4429, "RATE_LIMIT_EXCEEDED")
        with StreamSocket(served.url, served.other_key) as another:
            another.subscribe()
        for stream in opened[:3]:
            stream.__exit__(None, None, None)


def test_the_streams_of_all_accounts_have_a_limit(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", streams={"connections": 1}) as served,
        StreamSocket(served.url, served.client_key) as stream,
        StreamSocket(served.url, served.other_key) as another,
    ):
        stream.subscribe()
        code, error = another.refusal()
        assert (code, error["code"]) == (4503, "SERVICE_UNAVAILABLE")


def test_an_idle_websocket_is_not_closed_as_a_late_head(tmp_path: Path) -> None:
    """A miner's session stays open however long it is idle; data sent with the handshake does not begin a new request."""
    with serve(tmp_path / "data", open_enrolment=True, **limited(head_seconds=3)) as served:
        miner = ScriptedMiner(served.url)
        assert miner.register().status_code == 200
        with Socket(miner) as session:
            assert session.call("heartbeat", body={"leases": [], "gpus": []})[0] == 200
            with pytest.raises(TimeoutError):
                session.connection.recv(timeout=4)
            assert session.call("heartbeat", body={"leases": [], "gpus": []})[0] == 200


# Paths


@pytest.mark.parametrize("control", ["%0A", "%00", "%1B%5B2J", "%7F", "%C2%85", "%C2%9B"])
def test_paths_with_control_characters_do_not_exist(served: Served, control: str) -> None:
    """Such as a final line feed, with which a path would match a call's route, but not the expression that chooses its limits."""
    headers = {"X-API-Key": served.client_key}
    with httpx.Client(base_url=served.url, headers=headers) as client:
        for path in ("/v1/artifacts", "/api/v1/artifacts", "/v1/session", "/dashboard/", "/v1/jobs"):
            answer = client.post(f"{path}{control}", content=b"stored")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND"), path
            assert "ratelimit" not in answer.headers
            assert answer.headers["x-request-id"]
    assert metric(served, "aitbc_coordinator_refused_requests_total", reason="key") == 0
