"""The flows of `client.services`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from aitbc._calls import artifacts, jobs
from aitbc._calls.jobs import idempotency_headers
from aitbc._http.flow import Flow, Session, fetch, post_json, present
from aitbc._http.transfer import Source, Uploadable
from aitbc.answers.jobs import Job, ServiceJob
from aitbc.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

_PROGRAM = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.py")
_ARCHIVE = re.compile(r"\.(?:zip|tar|tar\.gz|tgz)$", re.IGNORECASE)
_FORMAT = re.compile(r"\.([A-Za-z0-9]{1,10})$")
_ADDRESSES = ("https://", "http://", "artifact:")


def _unsealed(flow: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
    """Refuse the argument `seal`, before anything is sent in clear."""

    @functools.wraps(flow)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
        # Otherwise the word would be one more field of the body, and the input would go out in clear.
        if "seal" in kwargs:
            raise ConfigurationError(
                "Service calls are not sealed. Use client.jobs.create({'type': ..., 'parameters': ...}, files, seal=miner_id)."
            )
        return flow(*args, **kwargs)

    return checked


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

    With `wait` (seconds, at most 60), the response is delayed until the job ends, and then includes its `results`. A job that no
    known miner can ever run raises `CannotRun`; with the field `wait_for_miner` of the body, it waits for a miner that can.
    """
    if "wait_for_miner" in body:  # the API's name for it is that of the parameter above
        body = {**body, "wait": body["wait_for_miner"]}
        del body["wait_for_miner"]
    # Without a key, a repeated call would create, and cost, a second job.
    headers = idempotency_headers(idempotency_key)
    if wait is not None:
        headers["Prefer"] = f"wait={wait:g}"
    request = post_json(f"/v1/services/{route.strip('/')}", body, headers=headers, extra_timeout=wait or 0.0)
    return fetch(session, request, ServiceJob)


@_unsealed
def transcribe(
    session: Session,
    /,
    audio: Uploadable,
    *,
    model: str | None = None,
    language: str | None = None,
    task: str | None = None,
    wait: float | None = None,
    **fields: Any,
) -> Flow[ServiceJob]:
    """Transcribe speech. `audio` is a URL, an artifact's address, or a file, which is uploaded first.

    `task` is `transcribe` or `translate`. `fields` are further fields of the body, such as `word_timestamps` or `pricing`.
    """
    body = {
        "audio_url": (yield from _address(session, audio)),
        "model": model,
        "language": language,
        "task": task,
    }
    return (yield from call_service(session, "whisper/transcribe", present({**body, **fields}), wait=wait))


@_unsealed
def transcode(
    session: Session,
    /,
    video: Uploadable,
    *,
    output_format: str | None = None,
    codec: str | None = None,
    resolution: str | None = None,
    wait: float | None = None,
    **fields: Any,
) -> Flow[ServiceJob]:
    """Transcode a video. `video` is a URL, an artifact's address, or a file, which is uploaded first.

    `resolution` is `WIDTHxHEIGHT`. `fields` are further fields of the body, such as `fps` or `pricing`.
    """
    body = {
        "input_url": (yield from _address(session, video)),
        "output_format": output_format,
        "codec": codec,
        "resolution": resolution,
    }
    return (yield from call_service(session, "ffmpeg/transcode", present({**body, **fields}), wait=wait))


@_unsealed
def generate(
    session: Session,
    /,
    prompt: str,
    *,
    model: str | None = None,
    size: str | None = None,
    num_images: int | None = None,
    steps: int | None = None,
    image: Uploadable | None = None,
    mask: Uploadable | None = None,
    wait: float | None = None,
    **fields: Any,
) -> Flow[ServiceJob]:
    """Generate images from a prompt. `size` is `WIDTHxHEIGHT`.

    `image` is an image to start from, and the white parts of `mask` select what may change. Each is a URL, an artifact's address, or a
    file, which is uploaded first. `fields` are further fields of the body, such as `seed` or `pricing`.
    """
    body = {
        "prompt": prompt,
        "model": model,
        "size": size,
        "num_images": num_images,
        "steps": steps,
        "image_url": None if image is None else (yield from _address(session, image)),
        "mask_url": None if mask is None else (yield from _address(session, mask)),
    }
    return (
        yield from call_service(session, "stable-diffusion/generate", present({**body, **fields}), wait=wait)
    )


@_unsealed
def infer(
    session: Session,
    /,
    prompt: str | None = None,
    *,
    messages: Sequence[Mapping[str, Any]] | None = None,
    model: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    wait: float | None = None,
    idempotency_key: str | None = None,
    **other_fields: Any,
) -> Flow[ServiceJob]:
    """Generate text with a language model, from a `prompt` or from a conversation (`messages` with `role` and `content`).

    `max_tokens` limits the length of the text. `other_fields` are further fields of the body, such as `stop` or `pricing`.
    """
    body = {
        "prompt": prompt,
        "messages": messages,
        "model": model,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    fields = present({**body, **other_fields})
    return call_service(session, "llm/inference", fields, wait=wait, idempotency_key=idempotency_key)


@_unsealed
def embed(
    session: Session,
    /,
    texts: Sequence[str],
    *,
    model: str | None = None,
    dimensions: int | None = None,
    wait: float | None = None,
    idempotency_key: str | None = None,
    **other_fields: Any,
) -> Flow[ServiceJob]:
    """Turn texts into vectors; `dimensions` shortens them. `other_fields` are further fields of the body, such as `pricing`."""
    fields = present({"input": list(texts), "model": model, "dimensions": dimensions, **other_fields})
    return call_service(session, "text/embedding", fields, wait=wait, idempotency_key=idempotency_key)


@_unsealed
def rerank(
    session: Session,
    /,
    query: str,
    documents: Sequence[str],
    *,
    model: str | None = None,
    document_tokens: int | None = None,
    wait: float | None = None,
    idempotency_key: str | None = None,
    **other_fields: Any,
) -> Flow[ServiceJob]:
    """Score how relevant each of the documents is to a query; `document_tokens` cuts long ones.

    `other_fields` are further fields of the body, such as `pricing`.
    """
    body = {"query": query, "documents": list(documents), "model": model, "document_tokens": document_tokens}
    fields = present({**body, **other_fields})
    return call_service(session, "text/reranking", fields, wait=wait, idempotency_key=idempotency_key)


@_unsealed
def speak(
    session: Session,
    /,
    text: str,
    *,
    model: str | None = None,
    voice: str | None = None,
    output_format: str | None = None,
    speed: float | None = None,
    wait: float | None = None,
    idempotency_key: str | None = None,
    **other_fields: Any,
) -> Flow[ServiceJob]:
    """Have a text read aloud. The results name the file (`audio`); `output_format` is mp3, opus, aac, flac, wav or pcm.

    `other_fields` are further fields of the body, such as `language` or `pricing`.
    """
    body = {"input": text, "model": model, "voice": voice, "output_format": output_format, "speed": speed}
    fields = present({**body, **other_fields})
    return call_service(session, "speech/synthesize", fields, wait=wait, idempotency_key=idempotency_key)


@_unsealed
def stream(
    session: Session,
    /,
    prompt: str | None = None,
    *,
    messages: Sequence[Mapping[str, Any]] | None = None,
    model: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Flow[ServiceJob]:
    """Generate text as `infer` does, and stream it: iterate over the returned object.

    The job exists when the call returns. Its results are available at the end of the iteration (see `aitbc.TextStream`).
    """
    return infer(
        session,
        prompt,
        messages=messages,
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
        idempotency_key=idempotency_key,
        **fields,
    )


@_unsealed
def render(
    session: Session,
    /,
    blend: Uploadable,
    *,
    engine: str | None = None,
    resolution_x: int | None = None,
    resolution_y: int | None = None,
    samples: int | None = None,
    wait: float | None = None,
    **fields: Any,
) -> Flow[ServiceJob]:
    """Render a Blender scene. `blend` is a URL, an artifact's address, or a .blend file, which is uploaded first.

    The resolution is in pixels. `fields` are further fields of the body, such as `frames` or `pricing`.
    """
    body = {
        "blend_file_url": (yield from _address(session, blend)),
        "engine": engine,
        "resolution_x": resolution_x,
        "resolution_y": resolution_y,
        "samples": samples,
    }
    return (yield from call_service(session, "blender/render", present({**body, **fields}), wait=wait))


@_unsealed
def run(
    session: Session,
    /,
    program: Uploadable,
    *,
    input: Uploadable | None = None,  # noqa: A002 - the API's name
    entrypoint: str | None = None,
    requirements: Sequence[str] = (),
    deterministic: bool = False,
    parameters: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    **fields: Any,
) -> Flow[Job]:
    """Run a Python program, whose function `predict(input, **parameters)` returns the result.

    `program` is one file, or an archive that contains `entrypoint`. It and `input` are uploaded to the job. `entrypoint` defaults to
    the program's own name, or to `model.py`. `requirements` are the packages that it needs. A `deterministic` program returns the same
    for the same input on every machine, so that its result can be `audited`. `fields` are further fields of the job, such as `pricing`.
    """
    # A program from memory has no name, so it gets that of the runner's default.
    name = Source(program).name
    start = entrypoint or (name if _PROGRAM.fullmatch(name) else "model.py")
    files: dict[str, Uploadable] = {name if _ARCHIVE.search(name) else start: program}
    body: dict[str, Any] = {
        "type": "ai_inference",
        "model": {
            "type": "python",
            "entrypoint": start,
            "requirements": list(requirements),
            **({"deterministic": True} if deterministic else {}),
        },
        "parameters": parameters,
        **fields,
    }
    if input is not None:
        # The runner decodes the input by its format, which only the name shows.
        file_name = Source(input).name
        extension = _FORMAT.search(file_name)
        address = None
        # Uploaded to the job under the program's name or as an archive, it would be taken for the program.
        if file_name == start or _ARCHIVE.search(file_name):
            address = yield from _address(session, input)
        else:
            files[file_name or "input"] = input
        body["input"] = present(
            {"type": "file", "format": extension[1] if extension else None, "source": address}
        )
    return (yield from jobs.create(session, present(body), files, idempotency_key=idempotency_key))


def _address(session: Session, content: Uploadable) -> Flow[str]:
    if isinstance(content, str) and content.startswith(_ADDRESSES):
        return content
    # Uploaded before the job exists: the service's body has the address.
    artifact = yield from artifacts.upload(session, Path(content) if isinstance(content, str) else content)
    return artifact.address
