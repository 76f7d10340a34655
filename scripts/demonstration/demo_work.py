"""What the jobs of the demo have in common: an input to make, a request, and something to check."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from aitbc import AITBCClient
from demo_agent import DemoError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "demo"

JOB_SECONDS = 180
PROGRAM_SECONDS = 60

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Work(ABC):
    """One job of the demo with what came of it.

    `name` is what its files in the demo's folder are called, `files` are its outputs on disk by artifact id.
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
        """Make the input file, if there is one: its name, and words about it."""
        return None

    @abstractmethod
    def submit(self, client: AITBCClient) -> None:
        """Create the job."""

    @abstractmethod
    def check(self) -> tuple[str, str]:
        """Compare the results with what was asked for, and say what they are. Raises `DemoError`."""

    def collect(self, client: AITBCClient) -> None:
        """Fetch the results, the output files and the bundle of the receipt."""
        answer = client.jobs.get_results(self.job_id)
        self.results = answer.results
        for file in answer.output_files():
            # The name is the miner's word: only its end says anything here.
            path = FOLDER / f"{self.name}{Path(file.name).suffix}"
            expect(not path.exists(), f"{self.service} made two files that end with {path.suffix}.")
            self.files[file.artifact_id] = client.artifacts.download(file.artifact_id, path)
        self.bundle.write_text(json.dumps(client.receipts.export(self.job_id), indent=2) + "\n")

    def file(self, output: Mapping[str, Any]) -> Path:
        """Where an output file of the results lies."""
        return self.files[output["artifact_id"]]


def program(*command: str) -> str:
    """Run a program; its output. Raises `DemoError` with its words if it fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    except subprocess.CalledProcessError as error:
        raise DemoError(f"{command[0]} ended with status {error.returncode}: {error.stderr}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{command[0]} could not be run: {error}") from error
    return done.stdout


def expect(holds: bool, otherwise: str) -> None:
    """Raise `DemoError` with `otherwise` unless `holds`."""
    if not holds:
        raise DemoError(otherwise)


def check_picture(path: Path, size: str) -> str:
    """Look into a PNG file: it has to have `size`. Words about it. Raises `DemoError`."""
    head = path.read_bytes()[:24]
    expect(head.startswith(PNG_SIGNATURE), f"{path.name} is no PNG file.")
    width, height = (int.from_bytes(head[start : start + 4]) for start in (16, 20))
    expect(f"{width}x{height}" == size, f"{path.name} has {width}x{height}, not {size}.")
    return f"{size}, {kilobytes(path)}: {path.relative_to(ROOT)}"


def kilobytes(path: Path) -> str:
    """A file's size for people."""
    return f"{path.stat().st_size / 1000:.0f} kB"
