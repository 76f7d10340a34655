"""A piece of work for the commands that create jobs: what to submit, where its outputs go, and what came of it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aitbc._client import AsyncAITBCClient
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.cli._exits import explain
from aitbc.cli._notebook import Notebook, file_sha256, write_file
from aitbc.errors import APIError, JobFailed
from aitbc.models import JobEvent, JobResults

ANY_JOB = "jobs"
"""In place of a service's route: the job is created by its type."""


class Writer:
    """Writes the outputs of one work, each in one step, and remembers them. `written` are those that are there now."""

    def __init__(
        self,
        client: AsyncAITBCClient,
        notebook: Notebook,
        key: str,
        tell: Callable[[str], None],
        *,
        force: bool,
    ) -> None:
        self.written: list[Path] = []
        self._tell = tell
        self._client = client
        self._notebook = notebook
        self._key = key
        self._force = force

    async def fetch(self, artifact_id: str, path: Path, *, early: bool = False) -> None:
        """Download an output file, unless it is there already. What comes `early`, before the job ends, is announced."""
        sha256 = artifact_id.removeprefix("sha256:")
        if not self._notebook.holds(path, self._key, sha256):
            self.check(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            await self._client.artifacts.download(artifact_id, to=path)
            self._notebook.wrote(path, self._key, sha256)
            if early:
                self._tell(f"wrote {path}")
        self._note(path)

    async def write(self, path: Path, data: bytes) -> None:
        """Write an output that is no file of the results."""
        self.check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        self._notebook.wrote(path, self._key, sha256_hex(data))
        self._note(path)

    def check(self, path: Path) -> None:
        """Raise `FileExistsError` where writing would destroy what this command did not make, or what was edited since."""
        if path.exists() and not self._force and not self._notebook.is_ours(path):
            raise FileExistsError(
                17, "is there already, and not as aitbc made it; --force replaces it", str(path)
            )

    def _note(self, path: Path) -> None:
        if path not in self.written:
            self.written.append(path)


class Delivery(ABC):
    """Where the outputs of one work go. `places` are the files and directories that make it complete."""

    places: tuple[Path, ...] = ()

    async def during(self, event: JobEvent, writer: Writer) -> None:  # noqa: B027 - most wait for the end
        """Take what a running job tells."""

    @abstractmethod
    async def after(self, answer: JobResults, writer: Writer) -> None:
        """Write the outputs of a completed job. Raises `NoSuchResult`, `AITBCError` and `OSError`."""

    def check(self, writer: Writer) -> None:
        """Raise `FileExistsError` for an output that may not be written, before anything is paid for it."""
        for place in self.places:
            if not place.is_dir():
                writer.check(place)


@dataclass(frozen=True, slots=True)
class Work:
    """One job to be made.

    `route` is the service call (below `/v1/services/`), or `ANY_JOB`; `body` what decides the result, `options` what does not
    (prices, priorities); `files` are local files by the dotted path of the body's field that gets their address. A work
    that is not `remembered` is new each time.
    """

    label: str
    route: str
    body: Mapping[str, Any]
    options: Mapping[str, Any]
    delivery: Delivery
    files: Mapping[str, Path] = field(default_factory=dict)
    receipt: Path | None = None
    remembered: bool = True

    def key(self) -> str:
        """What the work is known by: the SHA-256 of everything that decides its result. Reads the files."""
        digests = {name: file_sha256(path) for name, path in self.files.items()}
        identity = {"route": self.route, "body": dict(self.body), "files": digests}
        return sha256_hex(canonical_json(identity))

    def complete_body(self, addresses: Mapping[str, str]) -> dict[str, Any]:
        """The whole body, with the addresses of uploaded files in their fields."""
        body: dict[str, Any] = json.loads(canonical_json({**self.body, **self.options}))
        for name, address in addresses.items():
            *parents, last = name.split(".")
            within = body
            for parent in parents:
                within = within.setdefault(parent, {})
            within[last] = address
        return body

    @property
    def places(self) -> tuple[Path, ...]:
        """All outputs, the receipt too."""
        return self.delivery.places if self.receipt is None else (*self.delivery.places, self.receipt)


def idempotency_key(identity: str, key: str, attempt: int) -> str:
    """What makes a repeated submission of an attempt the same job; `identity` is the notebook's."""
    return "aitbc-" + sha256_hex(f"{identity} {key} {attempt}".encode())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a work: `done`, `skipped` (was done before), `failed`, or `left` (not begun, or stopped)."""

    label: str
    status: Literal["done", "skipped", "failed", "left"]
    job_id: str | None = None
    outputs: tuple[Path, ...] = ()
    answer: JobResults | None = None
    error: Exception | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `--json` shows it."""
        shown: dict[str, Any] = {"input": self.label, "status": self.status, "job_id": self.job_id}
        shown["outputs"] = [str(path) for path in self.outputs]
        if self.answer is not None:
            shown["results"] = self.answer.to_dict()["results"]
        if self.error is not None:
            code = self.error.code if isinstance(self.error, (APIError, JobFailed)) else None
            shown["error"] = {"code": code, "message": explain(self.error)}
        return shown
