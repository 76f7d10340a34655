"""Sealed answers: how a miner seals a run's secret to its client, and how the client opens results, events, logs and files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aitbc._shape import FENCE, text
from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json, sha256_hex
from aitbc.errors import FormatError, VerificationError
from aitbc.sealing.keys import ReplyKey
from aitbc.sealing.suite import (
    SECRET_SIZE,
    VERSION,
    decrypt,
    derive,
    hpke_open,
    hpke_seal,
    salted,
    unpadded,
)
from aitbc.statement import Statement

ANSWER_TYPE: Final = "https://aitbc.bubuit.net/sealed-answer/v1"
EVENT_KIND: Final = "sealed"
LOG_SOURCE: Final = "sealed"
_HEADER: Final = ("version", "fence", "spec_digest", "capsule")


@dataclass(frozen=True, slots=True)
class JobOfRequest:
    """Which job answers which request, as its client knows it."""

    job_id: str
    miner_id: str
    request_id: str


def answer_info(job: JobOfRequest, fence: str, spec_digest: str) -> bytes:
    """Return what an answer's capsule is bound to."""
    return canonical_json(
        {
            "type": ANSWER_TYPE,
            "job_id": job.job_id,
            "miner_id": job.miner_id,
            "request_id": job.request_id,
            "fence": fence,
            "spec_digest": spec_digest,
        }
    )


def new_answer(
    reply_key: bytes, job: JobOfRequest, fence: int, spec_digest: str, secret: bytes | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Return the secret of a new answer, and the header that carries it to the client. Raises `FormatError`."""
    # A new one for each run: two runs of a job must not share keys and nonces.
    secret = secret or os.urandom(SECRET_SIZE)
    capsule = hpke_seal(reply_key, answer_info(job, str(fence), spec_digest), secret)
    header = {"version": VERSION, "fence": str(fence), "spec_digest": spec_digest}
    return secret, {**header, "capsule": b64encode(capsule)}


@dataclass(frozen=True, slots=True)
class OpenedResults:
    """A run's results as the miner sealed them. `files` describe the output files' plaintexts, in their order; `digest` is the statement's."""

    results: dict[str, Any]
    files: tuple[Mapping[str, Any], ...]
    fence: str
    spec_digest: str
    digest: str


class AnswerOpener:
    """Opens the answers to one job's request. Every method raises `VerificationError` for what the job's miner did not seal."""

    def __init__(self, reply_key: ReplyKey, job: JobOfRequest) -> None:
        self._reply_key = reply_key
        self._job = job
        self.secret = reply_key.request_secret(_hex(job.request_id))
        self._answers: dict[str, bytes] = {}
        self._last: dict[str, int] = {}
        self._fence = 0
        self._digest: str | None = None

    def results(self, results: Mapping[str, Any]) -> OpenedResults:
        """Open a job's results, which are the same at every call."""
        sealed = _object(results.get("sealed"))
        plaintext = decrypt(self._key(sealed, "results"), b64decode(str(sealed.get("ciphertext"))))
        content = unpadded(plaintext)
        inner, files = content.get("results"), content.get("files", [])
        if not isinstance(inner, dict) or not isinstance(files, list):
            raise FormatError("The sealed results lack a field.")
        digest = salted(self.secret, "results", plaintext)
        # Several runs may have sealed results; a coordinator that shows one and then another wants to deceive.
        if self._digest not in {None, digest}:
            raise VerificationError("The coordinator returned other results of this job than before.")
        self._digest = digest
        return OpenedResults(inner, tuple(files), str(sealed["fence"]), str(sealed["spec_digest"]), digest)

    def event(self, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Open an event: return its kind and data, or None for one that was repeated, or arrived after a later one or a later run's."""
        number = data.get("n")
        # The number is the nonce, so decryption also proves it.
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise FormatError("A sealed event has no number.")
        key = self._key(data, "events")
        content = unpadded(decrypt(key, b64decode(str(data.get("ciphertext"))), number.to_bytes(12, "big")))
        fence = int(text(data["fence"], "A sealed event's fence", FENCE))
        # The coordinator can repeat and reorder what it cannot read.
        if fence < self._fence or number <= self._last.get(str(data["capsule"]), -1):
            return None
        self._fence = fence
        self._last[str(data["capsule"])] = number
        kind, value = content.get("kind"), content.get("data")
        if not isinstance(kind, str) or not isinstance(value, dict):
            raise FormatError("A sealed event lacks a field.")
        return kind, value

    def restart(self) -> None:
        """Accept earlier events again: after a gap, a coordinator repeats a job's outputs so far."""
        self._last.clear()

    def log(self, joined: str) -> Mapping[str, Any]:
        """Open the joined texts of a job's sealed log: return `failure`, `entries` and `truncated`."""
        sealed = _object(parse_json(joined))
        return unpadded(decrypt(self._key(sealed, "log"), b64decode(str(sealed.get("ciphertext")))))

    def errors_of(self, statement: Statement, results: Any = None) -> list[str]:
        """Return what a statement says otherwise than this client knows: the job, the miner and the request, and the content of `results`."""
        sealed, wrong = statement.sealed, []
        if (statement.job_id, statement.miner_id) != (self._job.job_id, self._job.miner_id):
            wrong.append(
                f"it is of {statement.miner_id} for {statement.job_id}, not of {self._job.miner_id} for {self._job.job_id}"
            )
        if sealed is None or sealed.request_id != self._job.request_id:
            wrong.append(f"it does not answer the request {self._job.request_id}")
        if results is None or wrong or sealed is None:
            return wrong
        content = self.results(results)
        if (
            content.digest != sealed.results
            or sha256_hex(canonical_json(results)) != statement.subject[0].sha256
        ):
            wrong.append("the results are not those that it signs")
        if (content.fence, content.spec_digest) != (str(statement.fence), statement.spec_digest):
            wrong.append("the results are those of another run")
        return wrong

    def file_key(self, results: Mapping[str, Any], number: int) -> bytes:
        """Return the key of output file `number` of a job's results."""
        return self._key(_object(results.get("sealed")), f"output:{number}")

    def _key(self, header: Mapping[str, Any], label: str) -> bytes:
        if header.get("version") != VERSION or not all(
            isinstance(header.get(name), str) for name in _HEADER[1:]
        ):
            raise FormatError("A sealed part has no valid header.")
        # The capsule opens only for the job, miner and request that this client remembers, and not those that the header claims.
        info = answer_info(self._job, header["fence"], header["spec_digest"])
        # Opening a capsule costs a key exchange, and each event of a run has the same one.
        name = f"{header['capsule']} {header['fence']} {header['spec_digest']}"
        answer = self._answers.get(name)
        if answer is None:
            answer = hpke_open(self._reply_key.private, info, b64decode(header["capsule"]))
            self._answers[name] = answer
        return derive(answer, label, salt=self.secret)


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FormatError("The job's answer is not sealed, though its request was. Do not trust it.")
    return value


def _hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise FormatError("The request's id is malformed.") from error
