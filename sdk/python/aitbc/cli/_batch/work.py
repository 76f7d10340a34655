"""The unit of the commands that create jobs: what to submit, where the outputs go, and the outcome."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from aitbc._client import AsyncAITBCClient
from aitbc.answers.jobs import JobEvent, JobResults
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.cli._batch.journal import Journal, file_sha256, write_file
from aitbc.cli._terminal.exits import NoSuchResult, explain
from aitbc.errors import APIError, JobFailed

ANY_JOB = "jobs"
"""A `route` that is not a service's: the job is created by its type."""
SERVICES = {
    "whisper/transcribe": "whisper_transcription",
    "stable-diffusion/generate": "image_generation",
    "ffmpeg/transcode": "video_transcoding",
    "blender/render": "blender_rendering",
    "text/embedding": "text_embedding",
    "text/reranking": "text_reranking",
    "speech/synthesize": "speech_synthesis",
}
"""The services of the routes."""


class Writer:
    """Writes the outputs of one work atomically, and records them.

    `written` lists those that exist now, `reported` those of them that were reported before the job's end.
    """

    def __init__(
        self,
        client: AsyncAITBCClient,
        journal: Journal,
        key: str,
        report: Callable[[str], None],
        *,
        force: bool,
    ) -> None:
        self.written: list[Path] = []
        self.reported: set[Path] = set()
        self._report = report
        self._client = client
        self._journal = journal
        self._key = key
        self._force = force

    async def fetch(self, artifact_id: str, path: Path, *, early: bool = False) -> None:
        """Download an output file, unless it exists already. A file that arrives `early`, before the job ends, is reported."""
        sha256 = artifact_id.removeprefix("sha256:")
        if not self._journal.holds(path, self._key, sha256):
            self.check(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._client.artifacts.download(artifact_id, to=path)
            self._journal.wrote(path, self._key, sha256)
            if early:
                self._report(f"wrote {path}")
                self.reported.add(path)
        self._note(path)

    async def write(self, path: Path, data: bytes) -> None:
        """Write an output that is not one of the result's files."""
        self.check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        self._journal.wrote(path, self._key, sha256_hex(data))
        self._note(path)

    def check(self, path: Path) -> None:
        """Raise `FileExistsError` if the file exists and this command did not write it, or it was edited since."""
        # What people edited by hand is worth more than what can be fetched again.
        if path.exists() and not self._force and not self._journal.is_unchanged_output(path):
            raise FileExistsError(
                17,
                "the file exists and was not written by aitbc, or was edited since; --force overwrites it",
                str(path),
            )

    def _note(self, path: Path) -> None:
        if path not in self.written:
            self.written.append(path)


class OutputDelivery(ABC):
    """Stores the outputs of one work. It is complete when all `targets` (files and directories) exist."""

    targets: tuple[Path, ...] = ()

    async def during(self, event: JobEvent, writer: Writer) -> None:  # noqa: B027 - most wait for the end
        """Handle an event of the running job."""

    @abstractmethod
    async def after(self, answer: JobResults, writer: Writer) -> None:
        """Write the outputs of a completed job. Raises `NoSuchResult`, `AITBCError` and `OSError`."""

    def check(self, writer: Writer) -> None:
        """Raise `FileExistsError` for an output that may not be written, before the job costs anything."""
        for target in self.targets:
            if not target.is_dir():
                writer.check(target)


class NoFiles(OutputDelivery):
    """No files: the command shows what is in the results."""

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `OutputDelivery.after`."""


class SingleFile(OutputDelivery):
    """The file of a job that makes one."""

    def __init__(self, path: Path) -> None:
        self.targets = (path,)

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
        files = answer.output_files()
        if not files:
            raise NoSuchResult(f"The results of job {answer.job_id} have no file.")
        await writer.fetch(files[0].artifact_id, self.targets[0])


@dataclass(frozen=True, slots=True)
class BatchWork:
    """One job to create.

    `route` is the service call (below `/v1/services/`), or `ANY_JOB`. `body` has the fields that determine the result, `options` the
    others (prices, priorities). `files` maps the dotted path of a field to the local file whose address it gets. A work that is not
    `resumable` creates a new job each time. `seal` is the miner to which the input is sealed.
    """

    label: str
    route: str
    body: Mapping[str, Any]
    options: Mapping[str, Any]
    delivery: OutputDelivery
    files: Mapping[str, Path] = field(default_factory=dict)
    receipt: Path | None = None
    resumable: bool = True
    seal: str | None = None

    def sealed_to(self, miner_id: str, *, named: bool) -> BatchWork:
        """Return the work for a miner that alone can read it. Unless the job is `named`, its name says nothing about its content."""
        options = {
            name: value
            for name, value in self.options.items()
            if name != "miner_id" and (named or name != "name")
        }
        # Names stay in clear, and those that follow from a file or a prompt would reveal it.
        body = {name: value for name, value in self.body.items() if named or name != "name"}
        return replace(self, seal=miner_id, options=options, body=body)

    @property
    def job_body(self) -> dict[str, Any]:
        """The body that creates the job by its type, without its files."""
        if self.route == ANY_JOB:
            body: dict[str, Any] = json.loads(canonical_json({**self.body, **self.options}))
            return body
        body = {"type": SERVICES[self.route], "parameters": dict(self.body), **self.options}
        return dict(json.loads(canonical_json(body)))

    def key(self) -> str:
        """Return the work's key, the SHA-256 of everything that determines its result. Reads the files."""
        # By content and not by name, so that a moved or renamed file is the same work.
        digests = {name: file_sha256(path) for name, path in self.files.items()}
        identity = {"route": self.route, "body": dict(self.body), "files": digests}
        if self.seal is not None:
            identity["seal"] = self.seal
        return sha256_hex(canonical_json(identity))

    def complete_body(self, addresses: Mapping[str, str]) -> dict[str, Any]:
        """Return the complete body, with the addresses of the uploaded files in their fields."""
        body: dict[str, Any] = json.loads(canonical_json({**self.body, **self.options}))
        for name, address in addresses.items():
            *parents, last = name.split(".")
            within = body
            for parent in parents:
                within = within.setdefault(parent, {})
            within[last] = address
        return body

    @property
    def targets(self) -> tuple[Path, ...]:
        """All outputs, including the receipt."""
        return self.delivery.targets if self.receipt is None else (*self.delivery.targets, self.receipt)


def idempotency_key(identity: str, key: str, attempt: int) -> str:
    """Return the idempotency key of an attempt. `identity` is that of the journal."""
    return "aitbc-" + sha256_hex(f"{identity} {key} {attempt}".encode())


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a work.

    It is `done`, `submitted` (if only that was requested), `skipped` (already done), `failed`, or `left` (not started, or stopped).
    """

    label: str
    status: Literal["done", "submitted", "skipped", "failed", "left"]
    job_id: str | None = None
    outputs: tuple[Path, ...] = ()
    answer: JobResults | None = None
    error: Exception | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as `--json` prints it."""
        fields: dict[str, Any] = {"input": self.label, "status": self.status, "job_id": self.job_id}
        fields["outputs"] = [str(path) for path in self.outputs]
        if self.answer is not None:
            fields["results"] = self.answer.to_dict()["results"]
        if self.error is not None:
            code = self.error.code if isinstance(self.error, (APIError, JobFailed)) else None
            fields["error"] = {"code": code, "message": explain(self.error)}
        return fields
