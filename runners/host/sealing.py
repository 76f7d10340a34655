"""Opens a sealed job in the child, and seals what the run makes, so that plaintext exists only here and in a directory in memory.

docs/reference/sealed-jobs.md fixes the bytes. Runners do not import the SDK, which an engine's environment lacks, so this module has the
few primitives of `aitbc.sealing` again; tests/vectors/sealed.json ensures that they agree.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from runners.api import Fail, FailureCode, Retry
from runners.host.protocol import (
    MAX_LINE,
    FileReference,
    JobLog,
    LogLine,
    Run,
    SaltedDigests,
    SealedRun,
)
from runners.plain_json import FILE_KEY

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MEDIA_TYPE: Final = "application/vnd.aitbc.sealed"
CHUNK: Final = 65_536
TAG: Final = 16
SOURCE: Final = "sealed"
EVENT_KIND: Final = "sealed"
FAILURE: Final = (
    "The run of this sealed job failed. The job's sealed log, which its client can open, says why."
)
_LABEL: Final = "aitbc.net/sealed/v1 "
_ZERO: Final = bytes(12)
_PADDING: Final = 256
_HEADER_BYTES: Final = 2048
"""Bytes of a sealed log in addition to its entries: the header, the failure's frame and the padding."""
_FAILURE_BYTES: Final = 4096


class Keys:
    """The keys that follow from the secrets of one sealed run. Raises `Retry` if the environment cannot encrypt."""

    def __init__(self, sealed: SealedRun) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see below
            from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as above
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - as above
        except ImportError:  # an engine's environment that is older than sealed jobs
            raise Retry(
                "The engine's environment lacks the package cryptography. Install the engine again: aitbc-agent engines install.",
                code=FailureCode.ENGINE_OUTDATED,
            ) from None
        self._secret, self._answer = sealed.secret, sealed.answer
        self._cipher = AESGCM
        self._derive: Callable[[bytes, bytes, str, int], bytes] = lambda key, salt, label, size: HKDF(
            SHA256(), size, salt, (_LABEL + label).encode()
        ).derive(key)

    def request(self, label: str) -> AESGCM:
        """Return the cipher of a part of the request."""
        return self._cipher(self._derive(self._secret, b"", label, 16))

    def answer(self, label: str) -> AESGCM:
        """Return the cipher of a part of the answer."""
        return self._cipher(self._derive(self._answer, self._secret, label, 16))

    def digest(self, label: str) -> hmac.HMAC:
        """Return an empty salted digest."""
        salt = self._derive(self._secret, b"", f"salt:{label}", 32)
        return hmac.new(salt, digestmod=hashlib.sha256)


class SealedLog:
    """The lines of one run, for its client alone: sealed as a whole when it ends. Of a long log, the beginning and the end."""

    def __init__(
        self, run_id: str, limit: int, send: Callable[[JobLog], None], seal: Callable[[Any], str]
    ) -> None:
        self._run_id, self._send, self._seal = run_id, send, seal
        # A byte of text becomes four thirds of one in base64.
        self._half = max(0, limit * 3 // 4 - _HEADER_BYTES - _FAILURE_BYTES) // 2
        self._lock = threading.Lock()
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self._truncated = False
        self.failure: dict[str, str] | None = None

    def add(self, text: str, source: str) -> None:
        """Add the lines of `text`."""
        moment = time.time()
        with self._lock:
            for line in text.rstrip("\r\n").split("\n"):
                content = line.encode("utf-8", "replace").decode()[:MAX_LINE]
                entry = json.dumps(
                    {"time": moment, "source": source[:32], "text": content}, ensure_ascii=False
                )
                self._add(entry, len(entry.encode()) + 1)

    def _add(self, entry: str, size: int) -> None:
        # Once the tail has begun, a short line must not jump the queue.
        if not self._tail and self._head_size + size <= self._half:
            self._head.append(entry)
            self._head_size += size
            return
        self._tail.append(entry)
        self._tail_size += size
        while self._tail and self._tail_size > self._half:
            self._tail_size -= len(self._tail.popleft().encode()) + 1
            self._truncated = True

    def flush(self) -> None:
        """Do nothing, because a sealed log is sent once, when the run has ended."""

    def finish(self) -> None:
        """Send the log, unless it is empty."""
        with self._lock:
            entries = [json.loads(entry) for entry in (*self._head, *self._tail)]
        if not entries and self.failure is None:
            return
        text = self._seal({"failure": self.failure, "entries": entries, "truncated": self._truncated})
        lines = [text[start : start + MAX_LINE] for start in range(0, len(text), MAX_LINE)]
        now = time.time()
        self._send(
            JobLog(run_id=self._run_id, lines=[LogLine(time=now, source=SOURCE, text=line) for line in lines])
        )


class RunSealing:
    """One sealed run. `open` makes its input readable, `seal` its results unreadable, and `close` wipes its directory.

    `files`, `output` and `work` replace those of the run. Raises `Fail` for data that does not open.
    """

    def __init__(self, run: Run, sealed: SealedRun, send: Callable[[JobLog], None]) -> None:
        self._run, self._sealed = run, sealed
        self.keys = Keys(sealed)
        self.files: dict[str, Path] = {}
        self.output = sealed.directory / "output"
        self.work = sealed.directory / "work"
        self.log = SealedLog(run.run_id, sealed.log_bytes, send, self._seal_log)
        self._events = 0
        self._lock = threading.Lock()
        self._inputs: list[str] = []
        self._outputs: dict[Path, dict[str, Any]] = {}
        self._digests: list[str] = []
        self._request = ""

    def open(self) -> dict[str, Any]:
        """Create the directory, decrypt the request and its files into it, and return the parameters."""
        for directory in (self._sealed.directory, self.output, self.work, self._inputs_directory):
            directory.mkdir(mode=0o700)
        plaintext = _decrypted(self.keys.request("request"), b64decode(self._sealed.ciphertext))
        self._request = _hex(self.keys.digest("request"), plaintext)
        try:
            content = json.loads(plaintext)
            parameters, described = content["parameters"], content["files"]
            listed = [(file["field"], file["artifact_id"]) for file in described]
        except (ValueError, KeyError, TypeError):
            raise _invalid("its content is not what the format requires") from None
        if len(listed) != len(self._run.files) or not isinstance(parameters, dict):
            raise _invalid("its files are not those that it lists")
        for number, (field, artifact_id) in enumerate(listed):
            self.files[str(field)] = self._open_file(number, str(artifact_id))
        return parameters

    @property
    def _inputs_directory(self) -> Path:
        return self._sealed.directory / "inputs"

    def _open_file(self, number: int, artifact_id: str) -> Path:
        source, target = self._run.files.get(str(number)), self._inputs_directory / str(number)
        if source is None:
            raise _invalid("its files are not those that it lists")
        digest, sealed_digest = self.keys.digest(f"input:{number}"), hashlib.sha256()
        cipher = self.keys.request(f"input:{number}")
        with source.open("rb") as sealed, target.open("xb") as file:
            for chunk in _open_chunks(cipher, sealed, sealed_digest.update):
                file.write(chunk)
                digest.update(chunk)
        # The coordinator could have given the miner another file that was sealed with the same key.
        if artifact_id != f"sha256:{sealed_digest.hexdigest()}":
            raise _invalid("a file is not the one that it lists")
        self._inputs.append(digest.hexdigest())
        return target

    def require(self, field: str, reference: Any) -> None:
        """Put a text inside the request into a file. Raises `Fail` for a reference to a file that is not a sealed one."""
        if isinstance(reference, Mapping):
            target = self.files[field] = self._inputs_directory / f"inline{len(self.files)}"
            target.write_text(str(reference.get("inline", "")), encoding="utf-8")
        elif isinstance(reference, str) and field not in self.files:
            raise Fail(
                f"{field} names a file that was not sealed. A sealed job reads sealed files only.",
                code=FailureCode.INPUT_REFUSED,
            )

    def event(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data of the sealed event."""
        with self._lock:
            number, self._events = self._events, self._events + 1
        plaintext = _padded({"kind": kind, "data": data})
        ciphertext = self.keys.answer("events").encrypt(number.to_bytes(12, "big"), plaintext, None)
        return {**self._sealed.header, "n": number, "ciphertext": b64encode(ciphertext).decode()}

    def file(self, reference: FileReference) -> dict[str, Any]:
        """Seal an output file below `output` into the run's own output directory. Return the client's description of it."""
        source = reference.below(self.output)
        sealed_file = self._outputs.get(source)
        if sealed_file is None:
            sealed_file = self._outputs[source] = self._seal_file(source, len(self._outputs))
        return {
            **reference.extra,
            "artifact_id": sealed_file["artifact_id"],
            "url": f"/v1/artifacts/{sealed_file['artifact_id']}",
            "media_type": reference.media_type[:200],
            "size": sealed_file["size"],
            "name": reference.name[:200],
        }

    def _seal_file(self, source: Path, number: int) -> dict[str, Any]:
        cipher, salted = self.keys.answer(f"output:{number}"), self.keys.digest(f"output:{number}")
        sealed_digest, digest, size = hashlib.sha256(), hashlib.sha256(), 0
        # The run may have exchanged its file for a link since it was checked.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
        with (
            os.fdopen(descriptor, "rb") as file,
            (self._run.output / f"{number}.sealed").open("xb") as sealed,
        ):
            for chunk, last, index in _chunks(file, CHUNK):
                digest.update(chunk)
                salted.update(chunk)
                size += len(chunk)
                part = cipher.encrypt(_nonce(index, last=last), chunk, None)
                sealed_digest.update(part)
                sealed.write(part)
        self._digests.append(salted.hexdigest())
        return {
            "artifact_id": f"sha256:{sealed_digest.hexdigest()}",
            "index": number,
            "size": size,
            "sha256": digest.hexdigest(),
        }

    def seal(self, results: Mapping[str, Any]) -> tuple[dict[str, Any], SaltedDigests]:
        """Return the results as the coordinator sees them, and the salted digests for the statement."""
        described = [
            {name: file[name] for name in ("index", "size", "sha256")} for file in self._outputs.values()
        ]
        content = {"results": results, **({"files": described} if described else {})}
        plaintext = _padded(content)
        ciphertext = b64encode(self.keys.answer("results").encrypt(_ZERO, plaintext, None)).decode()
        outer: dict[str, Any] = {
            "sealed": {**self._sealed.header, "ciphertext": ciphertext},
            "processing_time": results["processing_time"],
            "units": results["units"],
        }
        if described:
            names = [f"{number}.sealed" for number in range(len(described))]
            references = [FileReference(path=name, media_type=MEDIA_TYPE, name=name) for name in names]
            outer["files"] = [{FILE_KEY: reference.model_dump()} for reference in references]
        digests = SaltedDigests(
            request=self._request,
            results=_hex(self.keys.digest("results"), plaintext),
            inputs=self._inputs,
            outputs=self._digests,
        )
        return outer, digests

    def _seal_log(self, content: Any) -> str:
        ciphertext = self.keys.answer("log").encrypt(_ZERO, _padded(content), None)
        return json.dumps({**self._sealed.header, "ciphertext": b64encode(ciphertext).decode()})

    def close(self) -> None:
        """Wipe the directory: memory of a deleted file is cleared before the kernel gives it to another process."""
        shutil.rmtree(self._sealed.directory, ignore_errors=True)

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """Create temporary files of this process below the directory. Only for a runner with one run at a time."""
        directory, tempfile.tempdir = tempfile.tempdir, str(self._sealed.directory / "temporary")
        Path(tempfile.tempdir).mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            yield
        finally:
            tempfile.tempdir = directory


class Quiet:
    """Discards what this process and its programs print while a sealed run is active: it would be written to a log file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._saved: tuple[int, int] | None = None

    @contextmanager
    def during(self) -> Iterator[None]:
        """Discard standard output and error until the block, and all others of this kind, have ended."""
        with self._lock:
            self._runs += 1
            if self._saved is None:
                self._saved = os.dup(1), os.dup(2)
                nowhere = os.open(os.devnull, os.O_WRONLY)
                # The descriptors instead of `sys.stdout`, because engines print from C, and programs inherit them.
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
                os.close(nowhere)
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                # Several sealed runs may overlap.
                if not self._runs and self._saved is not None:
                    for descriptor, saved in zip((1, 2), self._saved, strict=True):
                        os.dup2(saved, descriptor)
                        os.close(saved)
                    self._saved = None


def _open_chunks(cipher: AESGCM, source: IO[bytes], read: Callable[[bytes], None]) -> Iterator[bytes]:
    for sealed, last, number in _chunks(source, CHUNK + TAG):
        read(sealed)
        chunk = _decrypted(cipher, sealed, _nonce(number, last=last))
        if number and not chunk:
            raise _invalid("a file ends with an empty chunk")
        yield chunk


def _chunks(source: IO[bytes], size: int) -> Iterator[tuple[bytes, bool, int]]:
    """Yield the chunks of a file with whether each is the last one, and its number. An empty file has one empty chunk."""
    number, chunk = 0, source.read(size)
    while True:
        following = source.read(size) if len(chunk) == size else b""
        yield chunk, not following, number
        if not following:
            return
        number, chunk = number + 1, following


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _decrypted(cipher: AESGCM, ciphertext: bytes, nonce: bytes = _ZERO) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an engine's environment may lack it

    with suppress(InvalidTag, ValueError):
        return cipher.decrypt(nonce, ciphertext, None)
    raise _invalid("a part of it was changed")


def _padded(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    # The length of a ciphertext would otherwise show that of an answer, token by token.
    return text + b" " * (-len(text) % _PADDING)


def _hex(digest: hmac.HMAC, plaintext: bytes) -> str:
    digest.update(plaintext)
    return digest.hexdigest()


def _invalid(reason: str) -> Fail:
    return Fail(f"The sealed request does not open: {reason}.", code=FailureCode.SEALED_INVALID)
