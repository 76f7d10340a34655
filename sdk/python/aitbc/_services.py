"""The flows of `client.services`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aitbc import _artifacts
from aitbc._flow import Flow, Session, fetch, post_json
from aitbc._jobs import idempotency_headers
from aitbc._transfer import Uploadable
from aitbc.models import ServiceJob

_ADDRESSES = ("https://", "http://", "artifact:")


def call_service(
    session: Session,
    /,
    route: str,
    body: Mapping[str, Any],
    *,
    wait: float | None = None,
    idempotency_key: str | None = None,
) -> Flow[ServiceJob]:
    """Create a job through the service at `route` (below `/v1/services/`, such as `whisper/transcribe`).

    With `wait` (seconds, at most 60) the answer is held until the job ends and then has `results`.
    """
    headers = idempotency_headers(idempotency_key)
    if wait is not None:
        headers["Prefer"] = f"wait={wait:g}"
    request = post_json(f"/v1/services/{route.strip('/')}", body, headers=headers, patience=wait or 0.0)
    return (yield from fetch(session, request, ServiceJob))


def transcribe(
    session: Session,
    /,
    audio: Uploadable,
    *,
    model: str | None = None,
    language: str | None = None,
    task: str | None = None,
    wait: float | None = None,
    **more: Any,
) -> Flow[ServiceJob]:
    """Transcribe speech. `audio` is a URL, an artifact's address, or a file, which is uploaded first.

    `task` is `transcribe` or `translate`; `more` are further fields of the body, such as `word_timestamps` or `pricing`.
    """
    body = {
        "audio_url": (yield from _address(session, audio)),
        "model": model,
        "language": language,
        "task": task,
    }
    return (yield from call_service(session, "whisper/transcribe", _given({**body, **more}), wait=wait))


def transcode(
    session: Session,
    /,
    video: Uploadable,
    *,
    output_format: str | None = None,
    codec: str | None = None,
    resolution: str | None = None,
    wait: float | None = None,
    **more: Any,
) -> Flow[ServiceJob]:
    """Transcode a video. `video` is a URL, an artifact's address, or a file, which is uploaded first.

    `resolution` is `WIDTHxHEIGHT`; `more` are further fields of the body, such as `fps` or `pricing`.
    """
    body = {
        "input_url": (yield from _address(session, video)),
        "output_format": output_format,
        "codec": codec,
        "resolution": resolution,
    }
    return (yield from call_service(session, "ffmpeg/transcode", _given({**body, **more}), wait=wait))


def _address(session: Session, content: Uploadable) -> Flow[str]:
    if isinstance(content, str) and content.startswith(_ADDRESSES):
        return content
    artifact = yield from _artifacts.upload(session, Path(content) if isinstance(content, str) else content)
    return artifact.address


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller named; the service's own defaults stand for the rest."""
    return {name: value for name, value in body.items() if value is not None}
