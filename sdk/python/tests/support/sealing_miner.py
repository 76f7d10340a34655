"""A miner that accepts sealed jobs: its key as a coordinator returns it, and its answers to requests. It need not be honest."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from aitbc.canonical import b64decode, b64encode, canonical_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.keys import miner_id
from aitbc.sealing import EncryptionKey, JobOfRequest, new_answer, open_request
from aitbc.sealing.keys import PAYLOAD_TYPE
from aitbc.sealing.suite import derive, encrypt, key_id, padded, salted
from aitbc.statement import Sealing

SERVICE = "llm_inference"
SPEC_DIGEST = "5" * 64


def _time(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class SealingMiner:
    """`identity` signs the miner's encryption key, which `private` is the private part of."""

    identity: SigningKey = field(default_factory=SigningKey.generate)
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def miner_id(self) -> str:
        return miner_id(bytes(self.identity.verify_key))

    def key_answer(self) -> dict[str, Any]:
        """Return the answer of `GET /v1/miners/{miner_id}/encryption-key`."""
        public = self.private.public_key().public_bytes_raw()
        key = EncryptionKey(
            self.miner_id, key_id(public), public, _time(-1), _time(30), "coordinator.test/log"
        )
        return {
            "identity_key": b64encode(bytes(self.identity.verify_key)),
            "envelope": sign_envelope(PAYLOAD_TYPE, key.to_payload(), self.identity),
        }

    def secret(self, body: Mapping[str, Any]) -> bytes:
        """Return the secret of a request that was sealed to this miner."""
        return open_request(self.private, body["sealed"], miner_id=self.miner_id, service=SERVICE)

    def run(
        self, job_id: str, body: Mapping[str, Any], *, secret: bytes | None = None, fence: int = 4
    ) -> SealedRun:
        """Return a run of a request as a job. `secret` is that of another request, which this miner once got."""
        return SealedRun(self, job_id, body["sealed"], secret or self.secret(body), fence)


class SealedRun:
    """What a run seals for its client."""

    def __init__(
        self, miner: SealingMiner, job_id: str, sealed: Mapping[str, Any], secret: bytes, fence: int
    ) -> None:
        self._secret, self._sealed = secret, sealed
        self.job = JobOfRequest(job_id, miner.miner_id, sealed["request_id"])
        reply_key = b64decode(sealed["reply_key"])
        self._answer, self._header = new_answer(reply_key, self.job, fence, SPEC_DIGEST)
        self.fence = fence

    def _encrypted(self, label: str, content: Any, nonce: bytes = bytes(12)) -> str:
        return b64encode(encrypt(derive(self._answer, label, salt=self._secret), padded(content), nonce))

    def results(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job's results with these inside."""
        sealed = {**self._header, "ciphertext": self._encrypted("results", {"results": results})}
        return {"sealed": sealed, "units": 1, "processing_time": 0.5}

    def event(self, number: int, kind: str, data: Mapping[str, Any]) -> bytes:
        """Return a server-sent event."""
        ciphertext = self._encrypted("events", {"kind": kind, "data": data}, number.to_bytes(12, "big"))
        return event({"kind": "sealed", **self._header, "n": number, "ciphertext": ciphertext})

    def log(self, *lines: str) -> dict[str, Any]:
        """Return the job's log."""
        entries = [{"time": time.time(), "source": "runner", "text": line} for line in lines]
        content = {"failure": None, "entries": entries, "truncated": False}
        text = json.dumps({**self._header, "ciphertext": self._encrypted("log", content)})
        return {"job_id": self.job.job_id, "entries": [line(text, "sealed")], "truncated": False}

    def statement(self, results: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """Return the fields of the run's statement about these results."""
        plaintext = padded({"results": results})
        sealed = Sealing(
            self._sealed["key_id"], self.job.request_id, "1" * 64, salted(self._secret, "results", plaintext)
        )
        fields = {
            "job_id": self.job.job_id,
            "miner_id": self.job.miner_id,
            "fence": self.fence,
            "spec_digest": SPEC_DIGEST,
        }
        return {**fields, "service": SERVICE, "sealed": sealed, **changes}


def event(data: Mapping[str, Any]) -> bytes:
    """Return a server-sent event of a job's runner."""
    return f"event: job_event\ndata: {json.dumps(data)}\n\n".encode()


def update(job_id: str, status: str, **more: Any) -> bytes:
    """Return a server-sent event about a job's state."""
    return f"event: job_update\ndata: {json.dumps({'job_id': job_id, 'status': status, **more})}\n\n".encode()


def line(text: str, source: str) -> dict[str, Any]:
    """Return a line of a job's log."""
    return {"time": "2026-11-24T15:00:00Z", "attempt": 1, "source": source, "text": text}


def digest_of(results: Mapping[str, Any]) -> str:
    """Return the digest of the results that a statement signs."""
    return sha256_hex(canonical_json(results))
