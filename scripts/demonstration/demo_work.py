"""The base class of the demo's jobs: an input, a request and a check of the results."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from aitbc import AITBCClient
from demo_agent import DemoError, finished
from demo_page import Exhibit

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "demo"

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Work(ABC):
    """One job of the demo with its results.

    `name` is the name of its files in the demo's folder; `files` are its outputs on disk by artifact id.
    """

    service: ClassVar[str]
    title: ClassVar[str]
    name: ClassVar[str]

    def __init__(self) -> None:
        self.job_id = ""
        self.results: Mapping[str, Any] = {}
        self.files: dict[str, Path] = {}
        self.bundle = FOLDER / f"{self.name}.receipt.json"

    def prepare(self) -> tuple[str, str] | None:
        """Create the input file, if the job has one. Returns its name and a description."""
        return None

    @abstractmethod
    def submit(self, client: AITBCClient) -> None:
        """Create the job."""

    @abstractmethod
    def check(self) -> tuple[str, str]:
        """Compare the results with the request. Returns their name and a description. Raises `DemoError`."""

    @abstractmethod
    def exhibit(self) -> Exhibit:
        """Return what the demo's page shows of the job, once its results are there."""

    def collect(self, client: AITBCClient) -> None:
        """Download the results, the output files and the receipt's bundle."""
        answer = client.jobs.get_results(self.job_id)
        self.results = answer.results
        for file in answer.output_files():
            # The miner chose the name, so only its suffix is used.
            path = FOLDER / f"{self.name}{Path(file.name).suffix}"
            expect(not path.exists(), f"{self.service} created two files with the suffix {path.suffix}.")
            self.files[file.artifact_id] = client.artifacts.download(file.artifact_id, path)
        self.bundle.write_text(json.dumps(client.receipts.export(self.job_id), indent=2) + "\n")

    def file(self, output: Mapping[str, Any]) -> Path:
        """Return the path of an output file."""
        return self.files[output["artifact_id"]]


Attempt: TypeAlias = Callable[[Work], AbstractContextManager[None]]
"""Opens a context for a step of one job, whose failure does not end the others."""


def program(*command: str) -> str:
    """Run a program and return its output. Raises `DemoError` with its error message if it fails."""
    done = finished(*command)
    expect(done.returncode == 0, f"{command[0]} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


def expect(holds: bool, otherwise: str) -> None:
    """Raise `DemoError` with `otherwise` unless `holds`."""
    if not holds:
        raise DemoError(otherwise)


def check_picture(path: Path, size: str) -> str:
    """Check the size of a PNG file. Returns a description. Raises `DemoError`."""
    head = path.read_bytes()[:24]
    expect(head.startswith(PNG_SIGNATURE), f"{path.name} is not a PNG file.")
    width, height = (int.from_bytes(head[start : start + 4]) for start in (16, 20))
    expect(f"{width}x{height}" == size, f"{path.name} is {width}x{height}, not {size}.")
    return f"{size}, {kilobytes(path)}: {path.relative_to(ROOT)}"


def kilobytes(path: Path) -> str:
    """Return a file's size as text."""
    return f"{path.stat().st_size / 1000:.0f} kB"
