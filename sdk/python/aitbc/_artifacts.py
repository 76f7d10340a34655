"""The flows of `client.artifacts`."""

from __future__ import annotations

import re
from pathlib import Path

from aitbc._flow import (
    FIRST_ERROR,
    Flow,
    Request,
    Response,
    Session,
    Sleep,
    Work,
    call,
    checked,
    fetch,
    retry_delay,
    send,
)
from aitbc._transfer import FileSink, Source, Uploadable
from aitbc.canonical import sha256_hex
from aitbc.errors import FormatError, VerificationError
from aitbc.models import Artifact

_ARTIFACT_ID = re.compile(r"(?:artifact:)?(sha256:[0-9a-f]{64})")
_RANGE_NOT_SATISFIABLE = 416


def upload(session: Session, /, content: Uploadable, media_type: str | None = None) -> Flow[Artifact]:
    """Store a file: a path, bytes, or a file opened for reading bytes. It is streamed, never held in memory.

    Without `media_type` the file's name decides. Raises `VerificationError` when the coordinator stored other bytes,
    `OSError` when the file cannot be read, and what every call raises.
    """
    source = Source(content)
    headers = {"Content-Type": media_type or source.media_type}
    artifact = yield from fetch(
        session, Request("POST", "/v1/artifacts", headers=headers, source=source), Artifact
    )
    if artifact.artifact_id != f"sha256:{source.sha256}":
        raise VerificationError(
            f"The coordinator stored {artifact.artifact_id}, but sha256:{source.sha256} was sent."
        )
    return artifact


def get(session: Session, /, artifact_id: str) -> Flow[bytes]:
    """The content of a small artifact. Raises `VerificationError` when its digest is not that of the id."""
    path, sha256 = _address(artifact_id)
    response = yield from call(session, Request("GET", path, headers={"Accept-Encoding": "identity"}))
    if sha256_hex(response.content) != sha256:
        raise VerificationError(f"The SHA-256 of what was received is not {sha256}.")
    return response.content


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
