"""The flows of `client.artifacts`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from aitbc._calls import direct
from aitbc._http.flow import (
    FIRST_ERROR,
    BlockingWork,
    Flow,
    Request,
    Response,
    Retries,
    Session,
    Sleep,
    call,
    checked,
    fetch,
    post_json,
    query,
    segment,
    send,
)
from aitbc._http.sealing import decrypt, decrypt_file
from aitbc._http.transfer import FileSink, Progress, Source, Uploadable
from aitbc.answers.files import Artifact, ArtifactLink, ArtifactList, Upload
from aitbc.canonical import b64encode, sha256_hex
from aitbc.errors import FormatError, TransportError, VerificationError

_ARTIFACT_ID = re.compile(r"(?:artifact:)?(sha256:[0-9a-f]{64})")
_ELSEWHERE = 307
_RANGE_NOT_SATISFIABLE = 416
_SENT = frozenset({200, 206, _RANGE_NOT_SATISFIABLE})

RESUMABLE = 8 * 2**20
"""Files of more bytes than this use a resumable upload. Sending a smaller file again is as fast as resuming it."""
PART = 64 * 2**20
"""Bytes of one request of a resumable upload. Proxies limit the size of a request."""
_TUS = {"Tus-Resumable": "1.0.0"}
_OFFSET_CONFLICT = frozenset({409, 423})
"""The upload is at another offset, or an earlier request whose connection broke still holds it."""


def list_artifacts(
    session: Session, /, *, prefix: str = "", limit: int = 50, offset: int = 0
) -> Flow[ArtifactList]:
    """Return one page of the account's files, newest first, with the jobs that use them; only those whose ids begin with `prefix`.

    Raises `NotFound` if the coordinator is older than this call.
    """
    return query(session, "/v1/artifacts", ArtifactList, limit=limit, offset=offset, prefix=prefix or None)


def upload(
    session: Session,
    /,
    content: Uploadable,
    media_type: str | None = None,
    *,
    progress: Progress | None = None,
) -> Flow[Artifact]:
    """Store a file: a path, bytes, or a file opened for reading bytes. It is streamed, never held in memory.

    A large file goes to the coordinator's store of files directly, if the coordinator offers that. Without `media_type`, the type follows from the file's name. After a broken connection, the upload of a seekable file of more
    than 8 MiB resumes. `progress` is called with the number of bytes sent and the total. Raises `VerificationError` if the
    coordinator stored other bytes, `OSError` if the file cannot be read, and the errors of every call.
    """
    source = Source(content, progress)
    media_type = media_type or source.media_type
    # The store is asked first: the coordinator's own line is the narrowest part of a large upload.
    direct_artifact = yield from direct.upload(session, source, media_type)
    if direct_artifact is not None:
        artifact = direct_artifact
    # Only what can be read again from an offset can be resumed.
    elif source.repeatable and source.size is not None and source.size > RESUMABLE:
        artifact = yield from _upload_resumably(session, source, source.size, media_type)
    else:
        params = {"name": source.name} if source.name else {}
        headers = {"Content-Type": media_type}
        request = Request("POST", "/v1/artifacts", params=params, headers=headers, source=source)
        artifact = yield from fetch(session, request, Artifact)
    # The id is a digest, so it shows whether the bytes arrived as they were read.
    if artifact.artifact_id != f"sha256:{source.sha256}":
        raise VerificationError(
            f"The coordinator stored {artifact.artifact_id}, but sha256:{source.sha256} was sent: the file was damaged on its way. Upload it again."
        )
    return artifact


def _upload_resumably(session: Session, source: Source, size: int, media_type: str) -> Flow[Artifact]:
    """Upload with tus 1.0 (https://tus.io/protocols/resumable-upload), in parts small enough for proxies."""
    path = yield from _begin(session, source, size, media_type)
    retries = Retries(session, transient=_OFFSET_CONFLICT)
    offset = 0
    while True:
        source.part(offset, PART)
        part = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        request = Request("PATCH", path, headers={**_TUS, **part}, source=source)
        answer = yield from send(request)
        delay = retries.delay(request, answer)
        if delay is not None:
            yield Sleep(delay)
            # After an error nobody knows how many bytes arrived; only the coordinator does.
            answer = yield from call(session, Request("HEAD", path, headers=_TUS))
        stored, reached = _state(checked(answer))
        if stored is not None:
            return Artifact(artifact_id=stored, size=size, media_type=media_type)
        # Each part that arrives is progress, so a large file may need more retries in all than one request may.
        if reached > offset:
            retries.restart()
        # An answer without an error that accepts nothing would repeat the same part for ever.
        elif delay is None:
            raise TransportError(
                f"The upload stopped: the coordinator accepted no byte after the first {offset}. Upload the file again."
            )
        offset = reached


def _state(answer: Response) -> tuple[str | None, int]:
    """Return the artifact's id, if it is stored, and the number of bytes that have arrived."""
    offset = answer.headers.get("upload-offset", "")
    if not (offset.isascii() and offset.isdigit()):
        raise TransportError(
            "The response to a part of an upload has no Upload-Offset, so it is not a coordinator's. Check the base URL."
        )
    return answer.headers.get("upload-artifact-id"), int(offset)


def _begin(session: Session, source: Source, size: int, media_type: str) -> Flow[str]:
    values = {"filename": source.name, "filetype": media_type}
    metadata = ",".join(
        # File names need not be valid Unicode on Linux, and a name is not worth failing for.
        f"{key} {b64encode(value.encode(errors='replace'))}"
        for key, value in values.items()
        if value
    )
    headers = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    upload = yield from fetch(session, Request("POST", "/v1/uploads", headers=headers), Upload)
    return f"/v1/uploads/{segment(upload.upload_id)}"


def get(session: Session, /, artifact_id: str) -> Flow[bytes]:
    """Return the content of a small artifact. Raises `VerificationError` if its digest does not match the id."""
    path, sha256 = _address(artifact_id)
    response = yield from call(session, Request("GET", path, headers={"Accept-Encoding": "identity"}))
    # The digest is the id, so the coordinator need not be trusted for the content.
    if sha256_hex(response.content) != sha256:
        raise VerificationError(f"The received file is corrupt: its SHA-256 is not {sha256}.")
    return decrypt(session.sealing.files, f"sha256:{sha256}", response.content)


def link(session: Session, /, artifact_id: str, *, seconds: float | None = None) -> Flow[ArtifactLink]:
    """Return a link that reads this artifact without a key for `seconds` (by default an hour), relative to `base_url`."""
    path, _ = _address(artifact_id)
    body = {} if seconds is None else {"seconds": seconds}
    return fetch(session, post_json(f"{path}/links", body, repeatable=True), ArtifactLink)


def delete(session: Session, /, artifact_id: str) -> Flow[None]:
    """Delete a file of the account: an upload, or an output of its jobs. Results and receipts stay valid.

    Raises `Conflict` while an unfinished job needs the file, and the errors of every call.
    """
    path, _ = _address(artifact_id)
    yield from call(session, Request("DELETE", path, repeatable=False))


def download(session: Session, /, artifact_id: str, to: str | Path) -> Flow[Path]:
    """Download an artifact to the file `to`, streamed and checked against its digest. Returns the file's path.

    A sealed file of results that this client has opened is opened too. During the download the bytes are in `<to>.part`. A download that was interrupted resumes where it stopped. Raises
    `VerificationError` (and leaves no file) if the digest differs, `OSError` if the file cannot be written, and the errors of every
    call.
    """
    path, sha256 = _address(artifact_id)
    sink = FileSink(Path(to), sha256)
    try:
        yield BlockingWork(sink.open)
        # What is on disk already may be of another file with the same name, so a resumed download may begin twice.
        resumed = sink.size > 0
        yield from _receive(session, path, sink)
        if resumed and not sink.complete:
            # The partial file of an earlier download is not the beginning of this artifact.
            yield BlockingWork(sink.restart)
            yield from _receive(session, path, sink)
        yield BlockingWork(sink.finish)
        # Afterwards, since the id is the digest of the ciphertext.
        yield BlockingWork(lambda: decrypt_file(session.sealing.files, f"sha256:{sha256}", sink.target))
    finally:
        sink.close()
    return sink.target


def _receive(session: Session, path: str, sink: FileSink) -> Flow[None]:
    retries = Retries(session)
    while not (sink.size and sink.complete):
        start = sink.size
        request = _ranged(path, start, sink)
        if session.direct.downloads:
            request = replace(request, params={"redirect": "true"})
        # Sent without `call`, since each further attempt asks for another range: from where this one stopped.
        answer = yield from send(request)
        if isinstance(answer, Response) and answer.status == _ELSEWHERE:
            request = replace(_ranged(answer.headers.get("location", ""), start, sink), is_elsewhere=True)
            answer = yield from send(request)
            refused = not isinstance(answer, Response) or answer.status not in _SENT
            if refused and sink.size == start:
                session.direct.downloads = False  # from now on through the coordinator
                continue
        if isinstance(answer, Response) and answer.status < FIRST_ERROR:
            return
        if isinstance(answer, Response) and answer.status == _RANGE_NOT_SATISFIABLE and start:
            # The partial file is longer than this artifact.
            yield BlockingWork(sink.restart)
            continue
        if sink.size > start:
            retries.restart()
        delay = retries.delay(request, answer)
        if delay is None:
            checked(answer)
            return
        yield Sleep(delay)


def _ranged(path: str, start: int, sink: FileSink) -> Request:
    return Request("GET", path, headers={"Range": f"bytes={start}-"} if start else {}, sink=sink)


def _address(artifact_id: str) -> tuple[str, str]:
    match = _ARTIFACT_ID.fullmatch(artifact_id)
    if match is None:
        raise FormatError(f"{artifact_id!r} is not an artifact id: `sha256:` and 64 hexadecimal digits.")
    return f"/v1/artifacts/{match[1]}", match[1].removeprefix("sha256:")
