"""Audits of transcripts: honest runs on other threads and types, and transcripts of which a fifth of the words are wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from measuring.audits.row import Case, Job, check, run
from measuring.child import models_directory
from runners.api import AuditResult, Device, Model, Tools
from runners.whisper import WhisperRunner
from runners.whisper.request import TranscribeRequest

MODEL = "tiny.en"
SERVICE = "whisper_transcription"
WRONG = 0.2


@contextmanager
def loaded(threads: int, form: str = "int8") -> Iterator[WhisperRunner]:
    """Load the model with weights of this type."""
    runner = WhisperRunner(Tools(models_dir=models_directory()), Device("cpu", "CPU", threads=threads))
    with mock.patch("ctranslate2.get_supported_compute_types", return_value={form}), _named(form):
        runner.load(Model(MODEL, models_directory() / MODEL, engines=("faster-whisper",)))
    try:
        yield runner
    finally:
        runner.close()


@contextmanager
def _named(form: str) -> Iterator[None]:
    """Let faster-whisper load this type although it prefers another."""
    import faster_whisper  # noqa: PLC0415 - the import takes seconds

    original = faster_whisper.WhisperModel
    with mock.patch(
        "faster_whisper.WhisperModel",
        lambda *args, **options: original(*args, **(options | {"compute_type": form})),
    ):
        yield


class Speech:
    """Cases with recordings: without `files`, of about 20 seconds in several voices."""

    def __init__(self, folder: Path, files: Sequence[Path] = ()) -> None:
        self.folder = folder
        tools = Tools(models_dir=models_directory())
        self.files = files or [made.files["audio_url"] for made in WhisperRunner.calibration(tools, folder)]

    def request(self) -> TranscribeRequest:
        """Return the request."""
        return TranscribeRequest(audio_url="artifact:speech", model=MODEL, language="en")

    def jobs(self, threads: int, form: str = "int8") -> list[Job]:
        """Transcribe each recording."""
        with loaded(threads, form) as runner:
            return [
                run(runner, self.request(), self.folder, number, {"audio_url": file})
                for number, file in enumerate(self.files)
            ]

    def audits(self, jobs: list[Job], form: str = "int8") -> list[AuditResult]:
        """Audit jobs."""
        with loaded(2, form) as runner:
            return [check(runner, self.request(), job, self.folder) for job in jobs]

    def cases(self) -> Iterator[Case]:
        """Measure all cases."""
        for words, threads, form in (
            ("float32", 2, "float32"),
            ("int8, 1 thread", 1, "int8"),
            ("int8, 2 threads", 2, "int8"),
        ):
            jobs = self.jobs(threads, form)
            yield Case.of(SERVICE, f"faster-whisper {words}", self.audits(jobs), honest=True)
        wrong = [_wrong(job, random.Random(job.number)) for job in jobs]  # noqa: S311 - no secret
        yield Case.of(SERVICE, "a fifth of the words are wrong", self.audits(wrong), honest=False)


def _wrong(job: Job, chance: random.Random) -> Job:
    """Return a transcript in which some words are others of the same transcript."""
    known = job.result.results["text"].split()

    def changed(text: str) -> str:
        return " ".join(chance.choice(known) if chance.random() < WRONG else word for word in text.split())

    segments: list[dict[str, Any]] = [
        {**segment, "text": changed(segment["text"])} for segment in job.result.results["segments"]
    ]
    return job.changed(segments=segments, text=" ".join(segment["text"] for segment in segments))
