"""Vectors of sealed jobs: keys, a request with files, an answer with results, events and a log, and parts that must not open.

HPKE draws an ephemeral key, so the capsules were made once. All the rest follows from the keys.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from aitbc.canonical import b64decode, b64encode
from aitbc.dsse import sign_envelope
from aitbc.keys import miner_id
from aitbc.sealing import EncryptionKey, JobOfRequest, ReplyKey, SealedInput, open_request, seal_file
from aitbc.sealing.answer import answer_info
from aitbc.sealing.keys import PAYLOAD_TYPE
from aitbc.sealing.request import request_info
from aitbc.sealing.suite import derive, encrypt, hpke_open, key_id, padded, salted

REQUEST_CAPSULE: Final = "5mD/PQ+pAYhUbis5CEXGDQ8bu1F0yhm0dfx91CjTBg6zGS/NNJ7OrKNQmW5SxHSV05ngd4irmF98DUnoCidNV4D5rjRB7Gy6XgR96BHTIgc="
ANSWER_CAPSULE: Final = "up4RHjoCwde0Ay0O6jrzoFNnZG0TVr5iFs9d8afg5lgolRzCkj1KR8umDegFpGldnN2PAWnykImlbBBR5WpQyw4FLNLSleoqeX3ILsOxhiU="
FOREIGN_CAPSULES: Final = (
    "WNqZZJf9JNl01EPmkV6Ug6wjOvTVf866G1mWQ16aTlOkt9lo48dr+cJC0f4yvG1FO0pUk/F3dSfj+lQCfN9a6DG3XQB7RzDQPQmjpgo5K8M=",
    "6dEpTDCWJek/CFK0I0aM8KRP5kR3vSKuMyaMZ0gKDlCfoZpq0EuR+2xWR54aNWuLpmjCXFD1ywfRN2u9/uJIsKJAaJrjnl5zXyBgo83mmQ0=",
)
SMALL: Final = 1000
SIZES: Final = (0, 1, 1000, 65_535, 65_536, 65_537, 131_072, 150_000)


def _seed(label: str) -> bytes:
    return hashlib.sha256(f"aitbc sealed vectors: {label}".encode()).digest()


IDENTITY: Final = SigningKey(_seed("identity"))
MINER: Final = miner_id(bytes(IDENTITY.verify_key))
SEALING: Final = X25519PrivateKey.from_private_bytes(_seed("sealing"))
REPLY: Final = ReplyKey(_seed("reply"))
REQUEST_ID: Final = _seed("request id")[:16]
ANSWER: Final = _seed("answer")
JOB: Final = JobOfRequest("job_sealed0vector", MINER, REQUEST_ID.hex())
SPEC_DIGEST: Final = hashlib.sha256(b"spec").hexdigest()
SERVICE: Final = "whisper_transcription"


def sealed() -> dict[str, Any]:
    """Return the vectors."""
    secret = REPLY.request_secret(REQUEST_ID)
    return {
        "miner": _miner(),
        "reply_key": {"private_key": b64encode(REPLY.private_bytes()), "public_key": b64encode(REPLY.public)},
        "files": [_file(derive(secret, f"input:{number}"), size) for number, size in enumerate(SIZES)],
        "request": _request(secret),
        "answer": _answer(secret),
        "memory": {"names": [JOB.request_id, JOB.job_id], "record": _record()},
        "foreign": _foreign(),
    }


def content(size: int) -> bytes:
    """Return the plaintext of a file: byte i is i modulo 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def key() -> EncryptionKey:
    """Return the miner's key."""
    public = SEALING.public_key().public_bytes_raw()
    times = ("2026-11-28T01:00:00Z", "2027-01-04T01:00:00Z")
    return EncryptionKey(MINER, key_id(public), public, *times, "log.example.org")


def _miner() -> dict[str, Any]:
    own = key()
    return {
        "private_key": b64encode(SEALING.private_bytes_raw()),
        "answer": {
            "miner_id": MINER,
            "key_id": own.key_id,
            "public_key": b64encode(own.public_key),
            "created_at": own.created_at,
            "expires_at": own.expires_at,
            "identity_key": b64encode(bytes(IDENTITY.verify_key)),
            "envelope": sign_envelope(PAYLOAD_TYPE, own.to_payload(), IDENTITY),
            "attestation": None,
        },
    }


def _file(file_key: bytes, size: int) -> dict[str, Any]:
    sealed_bytes = b"".join(seal_file(file_key, io.BytesIO(content(size))))
    return {
        "size": size,
        "key": file_key.hex(),
        "sealed_size": len(sealed_bytes),
        "sealed_sha256": hashlib.sha256(sealed_bytes).hexdigest(),
        "sealed": b64encode(sealed_bytes) if size <= SMALL else None,
    }


def _request(secret: bytes) -> dict[str, Any]:
    fields = {
        "version": 1,
        "key_id": key().key_id,
        "request_id": REQUEST_ID.hex(),
        "reply_key": b64encode(REPLY.public),
        "model": "tiny.en",
        "adapters": [],
    }
    audio = b"".join(seal_file(derive(secret, "input:0"), io.BytesIO(content(1000))))
    artifact = f"sha256:{hashlib.sha256(audio).hexdigest()}"
    file = SealedInput("audio_url", artifact, 1000, "audio/wav", "talk.wav")
    parameters = {"audio_url": f"artifact:{artifact}", "model": "tiny.en", "language": "en"}
    plaintext = padded({"parameters": parameters, "files": [file.to_json()]})
    body = {
        **fields,
        "capsule": REQUEST_CAPSULE,
        "ciphertext": b64encode(encrypt(derive(secret, "request"), plaintext)),
        "files": [f"artifact:{artifact}"],
    }
    if open_request(SEALING, body, miner_id=MINER, service=SERVICE) != secret:
        raise ValueError("the capsule of the request does not hold its secret")
    return {
        "service": SERVICE,
        "info": request_info(fields, miner_id=MINER, service=SERVICE).decode(),
        "secret": secret.hex(),
        "plaintext": plaintext.decode(),
        "sealed": body,
        "salted": {"request": salted(secret, "request", plaintext), "input:0": salted(secret, "input:0", content(1000))},
    }  # fmt: skip


def _record() -> dict[str, Any]:
    """Return what the client remembers of the request."""
    return {"miner_id": MINER, "reply_key": b64encode(REPLY.public), "request_id": REQUEST_ID.hex()}


def _foreign() -> list[dict[str, Any]]:
    """Return answers to an earlier request, which open as a dishonest coordinator describes the job, but not with the client's memory."""
    earlier, answer = _seed("earlier request id")[:16], _seed("another answer")
    other = miner_id(bytes(SigningKey(_seed("another identity")).verify_key))
    secret = REPLY.request_secret(earlier)
    found = []
    for (why, job_id, miner), capsule in zip(
        (
            ("the answer of another miner, to which an earlier request was sealed", JOB.job_id, other),
            ("the miner's answer to another request, in another job", "job_earlier0vector", MINER),
        ),
        FOREIGN_CAPSULES,
        strict=True,
    ):
        described = JobOfRequest(job_id, miner, earlier.hex())
        if hpke_open(REPLY.private, answer_info(described, "4", SPEC_DIGEST), b64decode(capsule)) != answer:
            raise ValueError("the capsule of a foreign answer does not hold its secret")
        header = {"version": 1, "fence": "4", "spec_digest": SPEC_DIGEST, "capsule": capsule}
        plaintext = padded({"results": {"text": "Forged"}})
        ciphertext = b64encode(encrypt(derive(answer, "results", salt=secret), plaintext))
        results = {"sealed": {**header, "ciphertext": ciphertext}, "processing_time": 1.23, "units": 1.5}
        found.append({"why": why, "described": asdict(described), "results": results})
    return found


def _answer(secret: bytes) -> dict[str, Any]:
    info = answer_info(JOB, "4", SPEC_DIGEST)
    if hpke_open(REPLY.private, info, b64decode(ANSWER_CAPSULE)) != ANSWER:
        raise ValueError("the capsule of the answer does not hold its secret")
    header = {"version": 1, "fence": "4", "spec_digest": SPEC_DIGEST, "capsule": ANSWER_CAPSULE}
    output = b"".join(seal_file(derive(ANSWER, "output:0", salt=secret), io.BytesIO(content(1000))))
    artifact = f"sha256:{hashlib.sha256(output).hexdigest()}"
    where = {"artifact_id": artifact, "url": f"/v1/artifacts/{artifact}"}
    inner = {
        "text": "Hello",
        "files": [{**where, "media_type": "text/vtt", "size": 1000, "name": "talk.vtt"}],
    }
    description = {"index": 0, "size": 1000, "sha256": hashlib.sha256(content(1000)).hexdigest()}
    plaintext = padded({"results": inner, "files": [description]})
    results_key = derive(ANSWER, "results", salt=secret)
    events = [("segment", {"start": 0.0, "text": "Hel"}), ("segment", {"start": 1.5, "text": "lo"})]
    log = {"failure": None, "entries": [{"time": 1.5, "source": "runner", "text": "one line"}], "truncated": False}  # fmt: skip
    return {
        "job_id": JOB.job_id,
        "miner_id": MINER,
        "request_id": JOB.request_id,
        "info": info.decode(),
        "secret": ANSWER.hex(),
        "results": {
            "sealed": {**header, "ciphertext": b64encode(encrypt(results_key, plaintext))},
            "files": [{**where, "media_type": "application/vnd.aitbc.sealed", "size": len(output), "name": "0.sealed"}],
            "processing_time": 1.23,
            "units": 1.5,
        },
        "plaintext": plaintext.decode(),
        "output": {"sealed": b64encode(output), "size": 1000},
        "events": [
            {
                "sealed": {
                    **header,
                    "n": number,
                    "ciphertext": b64encode(
                        encrypt(
                            derive(ANSWER, "events", salt=secret),
                            padded({"kind": kind, "data": data}),
                            number.to_bytes(12, "big"),
                        )
                    ),
                },
                "kind": kind,
                "data": data,
            }
            for number, (kind, data) in enumerate(events)
        ],
        "log": {
            "sealed": {**header, "ciphertext": b64encode(encrypt(derive(ANSWER, "log", salt=secret), padded(log)))},
            "plaintext": log,
        },
        "salted": {"results": salted(secret, "results", plaintext), "output:0": salted(secret, "output:0", content(1000))},
    }  # fmt: skip
