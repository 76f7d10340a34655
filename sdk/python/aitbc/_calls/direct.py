"""Transfers of files past the coordinator: to and from its store of files, with signed URLs, where the coordinator offers that.

If anything prevents such a transfer, such as a store that this machine cannot reach, the file goes through the coordinator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aitbc._http.flow import (
    FIRST_ERROR,
    BlockingWork,
    Flow,
    Request,
    Response,
    Retries,
    Session,
    Sleep,
    fetch,
    post_json,
    segment,
    send,
)
from aitbc._http.transfer import Source
from aitbc.answers.files import Artifact, DirectUpload
from aitbc.canonical import parse_json
from aitbc.errors import APIError, FormatError

SMALLEST = 8 * 2**20
"""Smaller files go through the coordinator, which takes one request instead of three."""
_PATH = "/v1/direct-uploads"
_NOT_OFFERED = frozenset({404, 405, 422})
"""Answers of coordinators before version 0.3, and of those that store files themselves."""
_TRANSIENT = frozenset({403, 500})
"""A URL that has expired, and a store in trouble."""
_CHECK_SECONDS = 1.0
_ANSWER_SECONDS = 30.0


def upload(
    session: Session,
    source: Source,
    media_type: str,
    body: Mapping[str, Any] | None = None,
) -> Flow[Artifact | None]:
    """Send a file to the store. Returns None, after any number of bytes, if the coordinator must receive it instead."""
    size = source.size
    if not source.repeatable or size is None or size <= SMALLEST or not (yield from _is_offered(session)):
        return None
    # The request for the signed URLs has the digest, so it must be known before the first byte is sent.
    yield BlockingWork(source.read_through)
    file = {
        "size": size,
        "sha256": source.sha256,
        "media_type": media_type,
        "name": source.name or None,
        **(body or {}),
    }
    # In one request first, which is the fastest; in parts, an upload survives a broken connection.
    for in_parts in (False, True) if size <= session.direct.max_whole else (True,):
        try:
            plan = yield from fetch(
                session, post_json(_PATH, {**file, "in_parts": in_parts}, repeatable=True), DirectUpload
            )
        except APIError as error:
            # The coordinator stopped to offer it, or this file is not one for it. Other errors hold for any kind of upload.
            if error.status in _NOT_OFFERED:
                break
            raise
        artifact = yield from _send(session, source, plan, resumable=in_parts)
        if artifact is not None:
            return artifact
    # A store that refuses one file is likely out of this machine's reach, and each attempt costs the user minutes.
    session.direct.uploads = False
    source.part(0, size)
    return None


def _is_offered(session: Session) -> Flow[bool]:
    direct = session.direct
    if direct.uploads is None:
        answer = yield from send(Request("GET", _PATH))
        # A moment of trouble must not decide for the client's whole life.
        if not isinstance(answer, Response) or (
            answer.status >= FIRST_ERROR and answer.status not in _NOT_OFFERED
        ):
            return False  # the next upload asks again
        offer = _parsed(answer) if answer.status < FIRST_ERROR else {}
        direct.uploads = offer.get("direct") is True
        direct.max_whole = int(offer.get("max_whole") or 0)
    return direct.uploads


def _parsed(answer: Response) -> Mapping[str, Any]:
    try:
        value = parse_json(answer.content)
    except FormatError:
        return {}
    return value if isinstance(value, dict) else {}


def _send(session: Session, source: Source, plan: DirectUpload, *, resumable: bool) -> Flow[Artifact | None]:
    """Send all parts. Returns None if the store refuses one for good; the upload is terminated then."""
    path = f"{_PATH}/{segment(plan.upload_id)}"
    retries = Retries(session, transient=_TRANSIENT)
    while plan.artifact is None:
        sent_parts: list[dict[str, Any]] = []
        for part in plan.parts:
            source.part(part.offset, part.size)
            request = Request(
                part.method, part.url, headers=dict(part.headers), source=source, is_elsewhere=True
            )
            answer = yield from send(request)
            if isinstance(answer, Response) and answer.status < FIRST_ERROR and answer.headers.get("etag"):
                sent_parts.append({"number": part.number, "etag": answer.headers["etag"]})
                retries.restart()
                continue
            delay = retries.delay(request, answer) if resumable else None
            if delay is None:
                # Without `call`: if even this fails, the coordinator ends the upload itself after a while.
                yield from send(Request("DELETE", path))
                return None
            yield Sleep(delay)
            break
        # All parts are there, and the coordinator is still comparing the digest.
        if not plan.missing:
            yield Sleep(_CHECK_SECONDS)
        proceed = post_json(
            f"{path}/parts", {"parts": sent_parts}, repeatable=True, extra_timeout=_ANSWER_SECONDS
        )
        plan = yield from fetch(session, proceed, DirectUpload)
    return plan.artifact
