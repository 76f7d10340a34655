"""Resumable uploads: the tus protocol 1.0.0, request by request."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from support.server import Served, serve

DATA = os.urandom(3 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


METADATA = f"filename {b64(b'a film.mp4')},filetype {b64(b'video/mp4')},empty"


def begin(client: httpx.Client, length: int = len(DATA), **headers: str) -> str:
    """Create an upload and return its path."""
    answer = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), **headers})
    assert answer.status_code == 201, answer.text
    path: str = answer.headers["location"]
    return path


def send(
    client: httpx.Client, path: str, offset: int, data: bytes | Iterator[bytes], **headers: str
) -> httpx.Response:
    return client.patch(path, content=data, headers={**PART, "Upload-Offset": str(offset), **headers})


def offset_of(client: httpx.Client, path: str) -> int:
    answer = client.head(path, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def code(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and code of an error after checking its fields and the protocol's header."""
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert set(answer.json()["error"]) == {"code", "message", "details", "request_id"}
    return answer.status_code, answer.json()["error"]["code"]


def files(served: Served) -> list[Path]:
    """Return the files of unfinished uploads."""
    return list((served.context.files.blobs.root / "uploads").iterdir())


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_a_file_in_parts_becomes_an_artifact(served: Served, client: httpx.Client, prefix: str) -> None:
    """Its name and type are stored, and HEAD returns the current offset."""
    answer = client.post(
        f"{prefix}/uploads", headers={**TUS, "Upload-Length": str(len(DATA)), "Upload-Metadata": METADATA}
    )
    assert (answer.status_code, answer.headers["tus-resumable"]) == (201, "1.0.0")
    path = answer.headers["location"]
    assert path.startswith(f"{prefix}/uploads/upload_")
    first = send(client, path, 0, DATA[:1_000_000])
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, "1000000", b"")
    assert parsedate_to_datetime(first.headers["upload-expires"]).timestamp() > served.context.clock()
    head = client.head(path, headers=TUS)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("1000000", str(len(DATA)))
    assert (head.headers["cache-control"], head.headers["upload-metadata"]) == ("no-store", METADATA)
    assert client.get(path).json() | {"created_at": "", "expires_at": ""} == {
        "upload_id": path.rpartition("/")[2],
        "offset": 1_000_000,
        "length": len(DATA),
        "filename": "a film.mp4",
        "artifact_id": None,
        "created_at": "",
        "expires_at": "",
    }
    last = send(client, path, 1_000_000, DATA[1_000_000:])
    assert (last.status_code, last.headers["upload-artifact-id"]) == (204, ARTIFACT)
    assert "upload-expires" not in last.headers
    assert client.get(path).json()["artifact_id"] == ARTIFACT
    assert client.head(path, headers=TUS).headers["upload-artifact-id"] == ARTIFACT
    stored = client.get(f"/v1/artifacts/{ARTIFACT}")
    assert (stored.content, stored.headers["content-type"]) == (DATA, "video/mp4")
    assert files(served) == []


def test_options_lists_the_supported_versions_and_extensions(client: httpx.Client) -> None:
    for path in ("/v1/uploads", begin(client)):
        answer = client.options(path)
        assert (answer.status_code, answer.headers["tus-version"]) == (204, "1.0.0")
        assert answer.headers["tus-max-size"] == str(20 * 2**30)
        assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"
        assert set(answer.headers["tus-extension"].split(",")) == {
            "creation", "creation-with-upload", "creation-defer-length", "termination", "checksum", "expiration",
        }  # fmt: skip


def test_the_first_request_may_contain_the_whole_file(client: httpx.Client) -> None:
    answer = client.post("/v1/uploads", content=DATA, headers={**PART, "Upload-Length": str(len(DATA))})
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, str(len(DATA)))
    assert answer.headers["upload-artifact-id"] == answer.json()["artifact_id"] == ARTIFACT


def test_an_empty_file_is_finished_on_creation(client: httpx.Client) -> None:
    path = begin(client, 0)
    artifact_id = client.get(path).json()["artifact_id"]
    assert client.get(f"/v1/artifacts/{artifact_id}").content == b""


def test_the_length_may_be_deferred(client: httpx.Client) -> None:
    answer = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"})
    path = answer.headers["location"]
    assert send(client, path, 0, DATA[:500]).headers["upload-defer-length"] == "1"
    too_short = send(client, path, 500, b"", **{"Upload-Length": "499"})
    assert code(too_short) == (422, "VALIDATION_ERROR")
    last = send(client, path, 500, DATA[500:], **{"Upload-Length": str(len(DATA))})
    assert (last.status_code, last.headers["upload-artifact-id"]) == (204, ARTIFACT)


def test_a_part_at_the_wrong_offset_is_refused_with_the_right_one(client: httpx.Client) -> None:
    path = begin(client)
    send(client, path, 0, DATA[:100])
    for wrong in (0, 99, 101):
        answer = send(client, path, wrong, DATA[:50])
        assert code(answer) == (409, "CONFLICT")
        assert answer.json()["error"]["details"] == {"offset": 100}
    assert offset_of(client, path) == 100


def test_an_empty_part_after_the_last_one_is_accepted(client: httpx.Client) -> None:
    """A client that missed the last response asks for the offset and sends the remaining zero bytes."""
    path = begin(client)
    send(client, path, 0, DATA)
    again = send(client, path, len(DATA), b"")
    assert (again.status_code, again.headers["upload-artifact-id"]) == (204, ARTIFACT)
    assert code(send(client, path, len(DATA), b"more")) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1"])
def test_an_unsupported_version_is_refused(client: httpx.Client, version: str | None) -> None:
    path = begin(client)
    headers = {} if version is None else {"Tus-Resumable": version}
    answers = [
        client.post("/v1/uploads", headers={"Upload-Length": "5", **headers}),
        client.patch(
            path, content=b"x", headers={**PART, "Upload-Offset": "0", "Tus-Resumable": version or ""}
        ),
        client.delete(path, headers=headers),
    ]
    for answer in answers:
        assert code(answer) == (412, "UNSUPPORTED_VERSION")
        assert answer.headers["tus-version"] == "1.0.0"
    assert client.head(path, headers=headers).status_code == 412
    assert offset_of(client, path) == 0


@pytest.mark.parametrize("content_type", [None, "application/octet-stream"])
def test_an_unsupported_content_type_is_refused(client: httpx.Client, content_type: str | None) -> None:
    path = begin(client)
    headers = {**TUS, "Upload-Offset": "0"} | ({"Content-Type": content_type} if content_type else {})
    assert code(client.patch(path, content=b"x", headers=headers)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert offset_of(client, path) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upload-Length": "-1"},
        {"Upload-Length": "ten"},
        {"Upload-Length": "5", "Upload-Defer-Length": "1"},
        {"Upload-Defer-Length": "2"},
        {"Upload-Length": "5", "Upload-Metadata": "filename not-base64!"},
        {"Upload-Length": "5", "Upload-Metadata": "filename YQ==,filename YQ=="},
        {"Upload-Length": "5", "Upload-Metadata": "filename " + "A" * 5000},
    ],
)
def test_an_upload_with_invalid_headers_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    assert code(client.post("/v1/uploads", headers={**TUS, **headers})) == (422, "VALIDATION_ERROR")


def test_a_file_over_the_limit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_artifact=1000) as served, as_tester(served) as client:
        answer = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "1001"})
        assert code(answer) == (413, "PAYLOAD_TOO_LARGE")
        late = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"}).headers["location"]
        assert code(send(client, late, 0, DATA)) == (413, "PAYLOAD_TOO_LARGE")


def as_tester(served: Served) -> httpx.Client:
    return httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {served.client_key}"}, timeout=120
    )


def test_a_part_beyond_the_length_is_refused(client: httpx.Client) -> None:
    """A part of known size is refused before it is read, and another when it passes the end; no byte is stored past the end."""
    path = begin(client, 10)
    assert code(send(client, path, 0, b"12345678901")) == (413, "PAYLOAD_TOO_LARGE")
    assert offset_of(client, path) == 0
    assert code(send(client, path, 0, iter([b"123456", b"78901"]))) == (413, "PAYLOAD_TOO_LARGE")
    assert offset_of(client, path) <= 10


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_is_stored_only_if_its_checksum_matches(client: httpx.Client, algorithm: str) -> None:
    path = begin(client)
    right = f"{algorithm} {b64(hashlib.new(algorithm, DATA[:1000]).digest())}"
    assert send(client, path, 0, DATA[:1000], **{"Upload-Checksum": right}).status_code == 204
    answer = send(client, path, 1000, DATA[1000:2000], **{"Upload-Checksum": right})
    assert code(answer) == (460, "CHECKSUM_MISMATCH")
    assert offset_of(client, path) == 1000
    assert send(client, path, 1000, DATA[1000:]).headers["upload-artifact-id"] == ARTIFACT


@pytest.mark.parametrize("checksum", ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1", "sha1 AAAA", "sha1 ???"])
def test_a_malformed_or_unsupported_checksum_is_refused(client: httpx.Client, checksum: str) -> None:
    answer = send(client, begin(client), 0, b"x", **{"Upload-Checksum": checksum})
    assert code(answer) == (400, "UNSUPPORTED_CHECKSUM")


def test_a_terminated_upload_is_deleted(served: Served, client: httpx.Client) -> None:
    path = begin(client)
    send(client, path, 0, DATA[:100])
    assert files(served) != []
    assert client.delete(path, headers=TUS).status_code == 204
    assert files(served) == []
    assert client.head(path, headers=TUS).status_code == 404
    assert code(client.get(path)) == (404, "NOT_FOUND")
    assert code(client.delete(path, headers=TUS)) == (404, "NOT_FOUND")


def test_a_header_may_override_the_method(client: httpx.Client) -> None:
    """For clients and proxies that know only GET and POST."""
    path = begin(client)
    override = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0"}
    assert client.post(path, content=DATA, headers={**PART, **override}).status_code == 204
    assert client.get(path).json()["artifact_id"] == ARTIFACT
    assert client.post(path, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert client.get(path).status_code == 404


def test_only_the_owner_reaches_an_upload(served: Served, client: httpx.Client) -> None:
    path = begin(client)
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}) as other:
        assert code(send(other, path, 0, DATA)) == (404, "NOT_FOUND")
        assert code(other.delete(path, headers=TUS)) == (404, "NOT_FOUND")
        assert other.head(path, headers=TUS).status_code == 404
    assert code(httpx.post(f"{served.url}/v1/uploads", headers=TUS)) == (401, "UNAUTHORIZED")
    assert offset_of(client, path) == 0


def test_the_number_of_unfinished_uploads_is_limited(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_uploads_per_account=2) as served, as_tester(served) as client:
        first, _ = begin(client), begin(client)
        refused = client.post("/v1/uploads", headers={**TUS, "Upload-Length": "5"})
        assert code(refused) == (429, "RATE_LIMIT_EXCEEDED")
        send(client, first, 0, DATA)
        begin(client)


def test_an_account_stores_no_more_than_its_quota(tmp_path: Path) -> None:
    """Artifacts and the announced lengths of unfinished uploads count together."""
    with serve(tmp_path / "data", max_stored=len(DATA) + 100) as served, as_tester(served) as client:
        path = begin(client)
        for answer in (
            client.post("/v1/uploads", headers={**TUS, "Upload-Length": "101"}),
            client.post("/v1/artifacts", content=b"x" * 101),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert send(client, path, 0, DATA).status_code == 204
        assert client.post("/v1/artifacts", content=b"x" * 100).status_code == 201
        assert client.post("/v1/artifacts", content=b"y").status_code == 413
        late = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"}).headers["location"]
        assert code(send(client, late, 0, b"y")) == (413, "PAYLOAD_TOO_LARGE")
        with httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}) as other:
            assert other.post("/v1/artifacts", content=DATA).status_code == 201


def test_the_openapi_document_has_the_protocol(client: httpx.Client) -> None:
    paths = json.loads(client.get("/v1/openapi.json").text)["paths"]
    assert {"options", "post"} <= set(paths["/v1/uploads"])
    assert {"head", "get", "patch", "delete"} <= set(paths["/v1/uploads/{upload_id}"])
