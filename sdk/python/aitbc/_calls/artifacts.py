"""The flows of `client.artifacts`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from aitbc._http.flow import (
    FIRST_ERROR,
    Flow,
    Request,
    Response,
    Session,
    Sleep,
    Work,
    backoff_delay,
    call,
    checked,
    fetch,
    post_json,
    retry_delay,
    send,
)
from aitbc._http.transfer import FileSink, Progress, Source, Uploadable
from aitbc.canonical import b64encode, sha256_hex
from aitbc.errors import AITBCError, FormatError, TransportError, VerificationError
from aitbc.models import Artifact, ArtifactLink, Record

_ARTIFACT_ID = re.compile(r"(?:artifact:)?(sha256:[0-9a-f]{64})")
_RANGE_NOT_SATISFIABLE = 416

RESUMABLE = 8 * 2**20
"""Files of more bytes than this are uploaded so that they can go on; smaller ones are sent again as quickly."""
PART = 64 * 2**20
"""Bytes of one request of a resumable upload: proxies limit how much one may bring."""
_TUS = {"Tus-Resumable": "1.0.0"}
_ELSEWHERE = frozenset({409, 423})
"""The upload is at another offset than was thought, or an earlier request, whose connection broke, is not over yet."""


class _Upload(Record):
    upload_id: str


def upload(
    session: Session,
    /,
    content: Uploadable,
    media_type: str | None = None,
    *,
    progress: Progress | None = None,
) -> Flow[Artifact]:
    """Store a file: a path, bytes, or a file opened for reading bytes. It is streamed, never held in memory.

    Without `media_type` the file's name decides. A file of more than 8 MiB that can be read again goes on where it was
    when the connection breaks. `progress` is called with the bytes sent so far and the bytes in all. Raises
    `VerificationError` when the coordinator stored other bytes, `OSError` when the file cannot be read, and what every
    call raises.
    """
    source = Source(content, progress)
    media_type = media_type or source.media_type
    if source.repeatable and source.size is not None and source.size > RESUMABLE:
        artifact = yield from _upload_resumably(session, source, source.size, media_type)
    else:
        request = Request("POST", "/v1/artifacts", headers={"Content-Type": media_type}, source=source)
        artifact = yield from fetch(session, request, Artifact)
    if artifact.artifact_id != f"sha256:{source.sha256}":
        raise VerificationError(
            f"The coordinator stored {artifact.artifact_id}, but sha256:{source.sha256} was sent."
        )
    return artifact


def _upload_resumably(session: Session, source: Source, size: int, media_type: str) -> Flow[Artifact]:
    """With tus 1.0 (https://tus.io/protocols/resumable-upload), in parts that pass through proxies."""
    path = yield from _begin(session, source, size, media_type)
    offset = attempt = 0
    while True:
        source.part(offset, PART)
        part = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        request = Request("PATCH", path, headers={**_TUS, **part}, source=source)
        answer = yield from send(request)
        delay = _delay(request, answer, attempt)
        if delay is not None and attempt < session.retries:
            yield Sleep(delay)
            answer = yield from call(session, Request("HEAD", path, headers=_TUS))
        stored, reached = _state(checked(answer))
        if stored is not None:
            return Artifact(artifact_id=stored, size=size, media_type=media_type)
        if reached <= offset and attempt >= session.retries:
            raise TransportError(f"The coordinator takes no more than {offset} bytes of this file.")
        attempt = 0 if reached > offset else attempt + 1
        offset = reached


def _state(answer: Response) -> tuple[str | None, int]:
    """The artifact's id once it is stored, and how much has arrived."""
    offset = answer.headers.get("upload-offset", "")
    if not (offset.isascii() and offset.isdigit()):
        raise TransportError("The answer to a part of an upload is not a coordinator's.")
    return answer.headers.get("upload-artifact-id"), int(offset)


def _begin(session: Session, source: Source, size: int, media_type: str) -> Flow[str]:
    words = {"filename": source.name, "filetype": media_type}
    metadata = ",".join(
        f"{key} {b64encode(value.encode(errors='replace'))}" for key, value in words.items() if value
    )
    headers = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    upload = yield from fetch(session, Request("POST", "/v1/uploads", headers=headers), _Upload)
    return f"/v1/uploads/{quote(upload.upload_id, safe='')}"


def _delay(request: Request, answer: Response | AITBCError, attempt: int) -> float | None:
    if isinstance(answer, Response) and answer.status in _ELSEWHERE:
        return backoff_delay(attempt)
    return retry_delay(request, answer, attempt)


def get(session: Session, /, artifact_id: str) -> Flow[bytes]:
    """The content of a small artifact. Raises `VerificationError` when its digest is not that of the id."""
    path, sha256 = _address(artifact_id)
    response = yield from call(session, Request("GET", path, headers={"Accept-Encoding": "identity"}))
    if sha256_hex(response.content) != sha256:
        raise VerificationError(f"The SHA-256 of what was received is not {sha256}.")
    return response.content


def link(session: Session, /, artifact_id: str, *, seconds: float | None = None) -> Flow[ArtifactLink]:
    """A link that reads this artifact without a key, for an hour or so many `seconds`. It is relative to the client's `base_url`."""
    path, _ = _address(artifact_id)
    body = {} if seconds is None else {"seconds": seconds}
    return (yield from fetch(session, post_json(f"{path}/links", body, repeatable=True), ArtifactLink))


def delete(session: Session, /, artifact_id: str) -> Flow[None]:
    """Delete a file of the account: one that was uploaded, or an output of its jobs. Results and receipts stay valid.

    Raises `Conflict` while a job that has not ended needs it, and what every call raises.
    """
    path, _ = _address(artifact_id)
    yield from call(session, Request("DELETE", path, repeatable=False))


def download(session: Session, /, artifact_id: str, to: str | Path) -> Flow[Path]:
    """Fetch an artifact into the file `to`, streamed and checked against its digest; the file's path.

    While it runs the bytes are in `<to>.part`. A broken connection, or an earlier download that was interrupted, is
    resumed where it ended. Raises `VerificationError` (and leaves no file) when the digest differs, `OSError` when the
    file cannot be written, and what every call raises.
    """
    path, sha256 = _address(artifact_id)
    sink = FileSink(Path(to), sha256)
    try:
        yield Work(sink.open)
        resumed = sink.size > 0
        yield from _receive(session, path, sink)
        if resumed and not sink.complete:
            # What an earlier download left was not the beginning of this file.
            yield Work(sink.restart)
            yield from _receive(session, path, sink)
        yield Work(sink.finish)
    finally:
        sink.close()
    return sink.target


def _receive(session: Session, path: str, sink: FileSink) -> Flow[None]:
    attempt = 0
    while not (sink.size and sink.complete):
        start = sink.size
        request = Request("GET", path, headers={"Range": f"bytes={start}-"} if start else {}, sink=sink)
        answer = yield from send(request)
        if isinstance(answer, Response) and answer.status < FIRST_ERROR:
            return
        if isinstance(answer, Response) and answer.status == _RANGE_NOT_SATISFIABLE and start:
            # What lies here from an earlier time is no beginning of this file.
            yield Work(sink.restart)
            continue
        attempt = 0 if sink.size > start else attempt
        delay = retry_delay(request, answer, attempt)
        if delay is None or attempt >= session.retries:
            checked(answer)
            return
        yield Sleep(delay)
        attempt += 1


def _address(artifact_id: str) -> tuple[str, str]:
    match = _ARTIFACT_ID.fullmatch(artifact_id)
    if match is None:
        raise FormatError(f"{artifact_id!r} is not an artifact id (sha256: and 64 hex digits).")
    return f"/v1/artifacts/{match[1]}", match[1].removeprefix("sha256:")
