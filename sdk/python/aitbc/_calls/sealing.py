"""Sealed jobs in the client's calls: seals requests, and remembers them before they are submitted. `opening` opens the answers."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any, BinaryIO, cast

from aitbc._calls import artifacts
from aitbc._http.flow import BlockingWork, Flow, Session, query, segment
from aitbc._http.transfer import Source, Uploadable
from aitbc.answers.record import Record
from aitbc.answers.sealing import EncryptionKeyAnswer
from aitbc.canonical import b64decode
from aitbc.errors import ConfigurationError, VerificationError
from aitbc.sealing import (
    MEDIA_TYPE,
    EncryptionKey,
    RequestSealer,
    SealedInput,
    read_answer,
    seal_file,
)
from aitbc.sealing.attestation import nonce_of, verify
from aitbc.sealing.memory import SealedRequest

INPUT_FIELDS = ("parameters", "model", "input", "output")
"""The fields of a job's body that are sealed."""
_PYTHON_MODEL = "ai_inference"
_ARCHIVE = re.compile(r"\.(?:zip|tar|tar\.gz|tgz)$", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://|artifact:")


def encryption_key(session: Session, /, miner_id: str) -> Flow[EncryptionKey]:
    """Return a miner's key for sealed jobs, after checking that the miner signed it and that it has not expired.

    Raises `NotFound` if the miner accepts no sealed jobs, `VerificationError` for a key that must not be used.
    """
    path = f"/v1/miners/{segment(miner_id)}/encryption-key"
    # Not cached: a miner replaces its key, and the old one must not be used once it has expired.
    answer = yield from query(session, path, EncryptionKeyAnswer)
    return read_answer(answer, miner_id, time.time())


def is_attested(session: Session, /, miner_id: str) -> Flow[bool]:
    """Return whether a miner's key for sealed jobs carries an attestation that an installed plug-in accepts."""
    path = f"/v1/miners/{segment(miner_id)}/encryption-key"
    answer = yield from query(session, path, EncryptionKeyAnswer)
    key = read_answer(answer, miner_id, time.time())
    if answer.attestation is None:
        return False
    try:
        verify(
            answer.attestation,
            nonce_of(b64decode(answer.identity_key), job_id=None, key_id=key.key_id),
        )
    # An attestation that proves nothing is the same as none to somebody who chooses a miner.
    except VerificationError:
        return False
    return True


def seal(
    session: Session,
    /,
    body: Mapping[str, Any],
    files: Mapping[str, Uploadable] | None = None,
    *,
    miner_id: str,
) -> Flow[dict[str, Any]]:
    """Return a job's body with its input sealed to a miner. The `files` are encrypted while they are read, and uploaded.

    `body` and `files` are those of `create`; files have the dotted path of their field as their name, or for Python models the name of
    the file. `name` and `labels` stay in clear. Raises `VerificationError` for a key that must not be used, `ConfigurationError` for an
    input that cannot be sealed, and the errors of every call.
    """
    key = yield from encryption_key(session, miner_id)
    service, sealed_input = _input_of(body)
    named = {_field(service, body, name): content for name, content in (files or {}).items()}
    # Before anything is uploaded, so that a refused request leaves nothing behind.
    _refuse_addresses(sealed_input)
    model = None
    if service != _PYTHON_MODEL:
        model = sealed_input.get("model") or (yield from _default_model(session, service))
    sealer = RequestSealer(
        key, session.sealing.reply_key(), service=service, model=model, adapters=_adapters(sealed_input)
    )
    described = []
    # Each file has a key of its own, from its number, so that none can be exchanged for another.
    for number, (field, content) in enumerate(named.items()):
        file = yield from _upload(session, sealer.file_key(number), field, content)
        described.append(file)
        _put(sealed_input, field, f"artifact:{file.artifact_id}")
    clear = {name: value for name, value in body.items() if name not in INPUT_FIELDS}
    # An offer determines the miner, and the API refuses both together.
    target = {} if "offer_id" in clear else {"miner_id": miner_id}
    sealed = sealer.seal(sealed_input, described)
    request = SealedRequest(miner_id, sealed["request_id"], sealed["reply_key"])
    # Before the job exists, under the request's id; `remember_job` adds the job's id.
    yield from _remember(session, request.request_id, request)
    return {**clear, **target, "sealed": sealed}


def request_of(session: Session, body: Mapping[str, Any]) -> Flow[SealedRequest | None]:
    """Return the sealed request in the body of a job that is about to be submitted, and store it; None for a job that is not sealed.

    A request that another program sealed to an offer is None too, since only the coordinator says which miner that is.
    """
    sealed = body.get("sealed")
    if not isinstance(sealed, Mapping):
        return None
    request_id, miner_id = str(sealed.get("request_id")), body.get("miner_id")
    sealed_request = session.sealing.memory.get(request_id)
    # What is in the memory was sealed here, so it goes before what the body says.
    if sealed_request is not None or miner_id is None:
        return sealed_request
    request = SealedRequest(str(miner_id), request_id, str(sealed.get("reply_key")))
    return (yield from _remember(session, request_id, request))


def remember_job(session: Session, job_id: str, request: SealedRequest) -> Flow[None]:
    """Remember which request a new job answers. Raises `VerificationError` for the id of a job that answers another one."""
    if (yield from _remember(session, job_id, request)) != request:
        raise VerificationError(
            f"The coordinator returned the id of job {job_id}, which answers an earlier request. Do not trust it."
        )


def _remember(session: Session, name: str, request: SealedRequest) -> Flow[SealedRequest]:
    stored = request

    def store() -> None:
        nonlocal stored
        stored = session.sealing.memory.add(name, request)

    yield BlockingWork(store)
    return stored


def _input_of(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the service's id and its whole input, which the caller may change."""
    service = str(body.get("type", "")).replace("-", "_")
    parameters = body.get("parameters") or {}
    if service != _PYTHON_MODEL:
        # A deep copy: the addresses of the sealed files are put into it, and the caller's values stay as they are.
        return service, json.loads(json.dumps(dict(parameters)))
    blocks = {name: body[name] for name in INPUT_FIELDS if body.get(name) is not None}
    return service, json.loads(json.dumps(blocks, default=dict))


def _field(service: str, body: Mapping[str, Any], name: str) -> str:
    if service != _PYTHON_MODEL or name in ("model.source", "input.source"):
        return name
    entrypoint = (body.get("model") or {}).get("entrypoint")
    return "model.source" if name == entrypoint or _ARCHIVE.search(name) else "input.source"


def _put(values: dict[str, Any], field: str, value: str) -> None:
    *parents, last = field.split(".")
    within: Any = values
    for name in parents:
        # A path such as `messages.0.image_url` counts through lists.
        within = within[int(name)] if isinstance(within, list) else within.setdefault(name, {})
    within[last] = value


def _refuse_addresses(value: Any, field: str = "") -> None:
    """Raise `ConfigurationError` for a file that the miner would have to fetch in clear."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_addresses(item, f"{field}.{name}" if field else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_addresses(item, f"{field}.{number}")
    elif isinstance(value, str) and _ADDRESS.match(value) and field.endswith(("url", "source")):
        raise ConfigurationError(
            f"{field} is an address, which a sealed job must not have: fetching it would reveal the input. Download the file, and pass it in `files`."
        )


def _adapters(sealed_input: Mapping[str, Any]) -> list[str]:
    references = [*(sealed_input.get("loras") or ()), sealed_input.get("control")]
    return [
        str(reference["name"])
        for reference in references
        if isinstance(reference, Mapping) and "name" in reference
    ]


class _Schema(Record):
    properties: dict[str, Any] | None = None


def _default_model(session: Session, service: str) -> Flow[str | None]:
    path = f"/v1/registry/services/{segment(service)}/schema"
    schema = yield from query(session, path, _Schema)
    return ((schema.properties or {}).get("model") or {}).get("default")


def _upload(session: Session, key: bytes, field: str, content: Uploadable) -> Flow[SealedInput]:
    source = Source(content)
    reader = _Reader(source)
    with tempfile.TemporaryFile() as sealed:  # ciphertext only
        # Into a file and not into memory, since inputs may be larger than that; the file's size is needed for the upload.
        yield BlockingWork(lambda: _seal_into(key, reader, sealed))
        stored = yield from artifacts.upload(session, cast("BinaryIO", sealed), MEDIA_TYPE)
    return SealedInput(field, stored.artifact_id, reader.size, source.media_type, source.name)


def _seal_into(key: bytes, reader: _Reader, target: IO[bytes]) -> None:
    for chunk in seal_file(key, reader):
        target.write(chunk)
    target.seek(0)


class _Reader:
    """The content of a source as a file. `size` counts the bytes that were read."""

    def __init__(self, source: Source) -> None:
        self._chunks = source.chunks()
        self._rest = b""
        self.size = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` only at the end."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        self.size += len(data)
        return data
