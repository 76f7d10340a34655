"""Invalid input: each has a clear error with its code, in the API's form, and no side effects."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.server import Served, serve

WHISPER = {"audio_url": "https://example.com/a.mp3", "model": "base"}


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error, after checking its form."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    assert body["error"].keys() == {"code", "message", "details", "request_id"}
    assert body["error"]["code"] == code
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    return body["error"]


def test_the_error_of_an_unknown_type_lists_the_known_types(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/jobs", json={"type": "whisper-transcriptoin"}), 400, "INVALID_JOB_TYPE")
    assert "Did you mean whisper_transcription?" in error["message"]


def test_the_error_of_an_unknown_model_suggests_a_similar_one(client: httpx.Client) -> None:
    answer = client.post("/v1/services/whisper/transcribe", json={**WHISPER, "model": "tiny.em"})
    assert "Did you mean tiny.en?" in error_of(answer, 422, "VALIDATION_ERROR")["details"]["fields"]["model"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "video-transcoding", "parameters": {"codec": "h264"}}, "parameters.input_url"),
        ({"type": "video-transcoding", "parameters": {}, "priority": 10}, "priority"),
        ({"type": "video-transcoding", "parameters": {}, "pricing": {"max_cost": 0.1}}, "pricing.max_cost"),
        ({"type": "video-transcoding", "parameters": {}, "pricing": {"max_cost": "-1"}}, "pricing.max_cost"),
        (
            {"type": "video-transcoding", "parameters": {}, "resources": {"memory": "lots"}},
            "resources.memory",
        ),
        ({"type": "video-transcoding", "parameters": {}, "colour": "red"}, "colour"),
        ({"type": "whisper-transcription", "parameters": WHISPER, "input": {"type": "image"}}, "input"),
        ({"type": "whisper-transcription", "parameters": {**WHISPER, "task": "sing"}}, "parameters.task"),
        (
            {"type": "whisper-transcription", "parameters": WHISPER, "timeout_seconds": 10**9},
            "timeout_seconds",
        ),
        ({"parameters": {}}, "type"),
    ],
)
def test_each_invalid_field_is_named(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    error = error_of(client.post("/v1/jobs", json=body), 422, "VALIDATION_ERROR")
    assert field in error["details"]["fields"], error
    assert client.get("/v1/jobs").json()["total"] == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com/a.mp3",
        "https://127.0.0.1/a.mp3",
        "https://10.1.2.3/a.mp3",
        "https://[::1]/a.mp3",
        "https://[::ffff:127.0.0.1]/a.mp3",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/a.mp3",
        "https://2130706433/a.mp3",
        "https://user:secret@example.com/a.mp3",
        "file:///etc/passwd",
        "artifact:sha256:12",
        "/etc/passwd",
        "https://[broken",
        "",
    ],
)
def test_an_address_that_no_miner_would_fetch_is_refused_at_once(client: httpx.Client, address: str) -> None:
    answer = client.post("/v1/services/whisper/transcribe", json={**WHISPER, "audio_url": address})
    assert "audio_url" in error_of(answer, 422, "VALIDATION_ERROR")["details"]["fields"]


def test_a_missing_artifact_is_refused(client: httpx.Client, served: Served) -> None:
    """And so is an artifact of another account."""
    address = f"artifact:sha256:{'0' * 64}"
    answer = client.post("/v1/services/whisper/transcribe", json={**WHISPER, "audio_url": address})
    error_of(answer, 422, "VALIDATION_ERROR")
    other = httpx.post(
        f"{served.url}/v1/artifacts", content=b"mine", headers={"Authorization": f"Bearer {served.other_key}"}
    ).json()
    body = {**WHISPER, "audio_url": f"artifact:{other['artifact_id']}"}
    error_of(client.post("/v1/services/whisper/transcribe", json=body), 422, "VALIDATION_ERROR")


def test_an_uploads_id_is_accepted_as_its_address(client: httpx.Client) -> None:
    """As the answer to the upload names it; the job has the whole address."""
    uploaded = client.post("/v1/artifacts", content=b"sound").json()["artifact_id"]
    body = {**WHISPER, "audio_url": uploaded, "wait": True}
    created = client.post("/v1/services/whisper/transcribe", json=body)
    assert created.status_code == httpx.codes.CREATED, created.text
    job = client.get(f"/v1/jobs/{created.json()['job_id']}").json()
    assert job["parameters"]["audio_url"] == f"artifact:{uploaded}"


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff\xfe", b'"text"', b"null"])
def test_malformed_bodies_are_refused(client: httpx.Client, content: bytes) -> None:
    for path in ("/v1/jobs", "/v1/services/whisper/transcribe", "/v1/receipts/verify"):
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        error_of(answer, 422, "VALIDATION_ERROR")


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    """With and without a declared length."""
    content = b" " * (5 * 2**20)
    error_of(client.post("/v1/jobs", content=content), 413, "PAYLOAD_TOO_LARGE")
    answer = client.post("/v1/jobs", content=(content[i : i + 65536] for i in range(0, len(content), 65536)))
    error_of(answer, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/job_1", "/v1/artifacts/x", "/v1/admin/keys", "/v1/receipts/job_1"]
)
def test_a_missing_and_an_invalid_key_are_refused(served: Served, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong"},
        {"Authorization": "Basic eDp5"},
    ):
        answer = httpx.get(f"{served.url}{path}", headers=headers)
        error_of(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_both_headers_accept_a_key(served: Served) -> None:
    for headers in ({"Authorization": f"Bearer {served.client_key}"}, {"X-API-Key": served.client_key}):
        assert httpx.get(f"{served.url}/v1/jobs", headers=headers).status_code == 200


def test_a_revoked_key_is_invalid_at_once(served: Served) -> None:
    admin = httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key})
    account = admin.post("/v1/admin/accounts", json={"name": "brief"}).json()["account_id"]
    new = admin.post("/v1/admin/keys", json={"role": "client", "name": "brief", "account_id": account}).json()
    headers = {"X-API-Key": new["key"]}
    assert httpx.get(f"{served.url}/v1/jobs", headers=headers).status_code == 200
    assert admin.delete(f"/v1/admin/keys/{new['key_id']}").status_code == 204
    error_of(httpx.get(f"{served.url}/v1/jobs", headers=headers), 401, "UNAUTHORIZED")
    assert new["key"] not in admin.get("/v1/admin/keys").text


def test_a_clients_key_cannot_administer(client: httpx.Client) -> None:
    error_of(client.get("/v1/admin/overview"), 403, "FORBIDDEN")


def test_another_accounts_job_is_not_found(client: httpx.Client, served: Served) -> None:
    """404 and not 403, for every call on a job."""
    job_id = client.post("/v1/services/whisper/transcribe", json=WHISPER).json()["job_id"]
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    for method, path in (
        ("GET", f"/v1/jobs/{job_id}"),
        ("DELETE", f"/v1/jobs/{job_id}"),
        ("GET", f"/v1/jobs/{job_id}/results"),
        ("GET", f"/v1/jobs/{job_id}/events"),
        ("PUT", f"/v1/jobs/{job_id}/files/model.py"),
        ("GET", f"/v1/receipts/{job_id}"),
    ):
        error_of(other.request(method, path), 404, "JOB_NOT_FOUND")
    assert other.get("/v1/jobs").json()["total"] == 0
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "submitted"


def test_the_error_of_early_results_has_the_state(client: httpx.Client) -> None:
    job_id = client.post("/v1/services/whisper/transcribe", json=WHISPER).json()["job_id"]
    for path in (f"/v1/jobs/{job_id}/results", f"/v1/receipts/{job_id}"):
        error = error_of(client.get(path), 409, "JOB_NOT_COMPLETED")
        assert error["details"]["status"] == "submitted"


def test_unknown_paths_and_methods_have_the_same_form(client: httpx.Client) -> None:
    error_of(client.get("/v1/nothing"), 404, "NOT_FOUND")
    error_of(client.get("/nothing"), 404, "NOT_FOUND")
    answer = client.patch("/v1/jobs")
    error_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, POST"
    assert client.get("/api/v1/registry/services/validate").status_code == 404
    assert client.patch("/api/v1/registry/services/validate").headers["allow"] == "POST"
    error_of(client.get("/v1/jobs", params={"limit": "many"}), 422, "VALIDATION_ERROR")


def test_an_account_cannot_fill_the_queue(tmp_path: Any) -> None:
    with serve(tmp_path / "data", max_jobs_per_account=2) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        for _ in range(2):
            assert client.post("/v1/services/whisper/transcribe", json=WHISPER).status_code == 201
        answer = client.post("/v1/services/whisper/transcribe", json=WHISPER)
        error_of(answer, 429, "RATE_LIMIT_EXCEEDED")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (None, "its media type is missing"),
        ("application/x-www-form-urlencoded", "it is sent as application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_not_sent_as_json_is_explained(
    client: httpx.Client, media_type: str | None, expected: str
) -> None:
    """As with `curl -d`, whose media type is that of a form."""
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = client.post("/v1/jobs", content=b'{"type": "whisper-transcription"}', headers=headers)
    sentence = f"{expected}; send JSON with the header `Content-Type: application/json`"
    assert error_of(answer, 422, "VALIDATION_ERROR")["details"]["fields"] == {"body": sentence}


def test_a_parameter_of_the_address_has_its_plain_name(client: httpx.Client) -> None:
    error = error_of(client.get("/v1/jobs", params={"limit": "many"}), 422, "VALIDATION_ERROR")
    assert error["details"]["fields"] == {"limit": 'must be a whole number, not "many"'}
