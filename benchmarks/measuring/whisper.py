"""Ten minutes of speech: our path with faster-whisper, faster-whisper alone, and openai-whisper alone.

Alone means in a Python process that has loaded the model, from the recording's file to the text, with the options that the runner
uses: beam search of five, voice activity detection, timestamps, and batches of the same size.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from measuring.child import Child, models_directory
from measuring.row import Row, order
from runners.api import Model, Tools
from runners.whisper import WhisperRunner
from runners.whisper.faster import BATCH

MODEL = "tiny.en"
SECONDS = 600
UNIT = "audio second/s"


def measure(folder: Path, rounds: int) -> list[Row]:
    """Compare all three, in turn."""
    recording = record(folder)
    parameters = {"audio_url": "artifact:recording", "model": MODEL, "language": "en"}
    faster, original = faster_whisper(recording), openai_whisper(recording)
    speeds: tuple[list[float], list[float]] = ([], [])
    with Child("whisper_transcription", folder) as child:
        child.load(Model(MODEL, models_directory() / MODEL))

        def run() -> str:
            return str(child.run(parameters, {"audio_url": recording})["text"])

        text, expected = run(), faster()  # to warm up
        assert text.split() == expected.split(), "the texts differ, so the work was not the same"
        for number in range(rounds):
            for way in order(number, 2):
                speeds[way].append(speed((run, faster)[way]))
    return [
        Row("faster-whisper, ten minutes", *speeds, UNIT),
        Row(
            "faster-whisper against openai-whisper",
            speeds[0],
            [speed(original)] * rounds,
            UNIT,
            required=False,
        ),
    ]


def record(folder: Path) -> Path:
    """Return ten minutes of the speech with which miners are measured."""
    passage = WhisperRunner.benchmark(Tools(), folder).files["audio_url"]
    recording = folder / "recording.wav"
    command = ["ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", passage, "-t", str(SECONDS), recording]
    subprocess.run(command, check=True, timeout=60)
    return recording


def faster_whisper(recording: Path) -> Callable[[], str]:
    """Load the model. Returns a function that transcribes the recording."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415 - engines are optional

    path = str(models_directory() / MODEL)
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=os.cpu_count() or 1)
    pipeline = BatchedInferencePipeline(model)

    def transcribe() -> str:
        segments, _ = pipeline.transcribe(
            str(recording), language="en", without_timestamps=False, batch_size=BATCH["cpu"]
        )
        return "".join(segment.text for segment in segments)

    return transcribe


def openai_whisper(recording: Path) -> Callable[[], str]:
    """Load the model. Returns a function that transcribes the recording, with the options that the runner uses."""
    import torch  # noqa: PLC0415 - engines are optional
    import whisper  # noqa: PLC0415 - engines are optional

    torch.set_num_threads(os.cpu_count() or 1)
    model = whisper.load_model(str(models_directory() / MODEL / "model.pt"), device="cpu")
    return lambda: str(model.transcribe(str(recording), language="en", fp16=False)["text"])


def speed(transcribe: Callable[[], str]) -> float:
    """Return the seconds of sound that are transcribed in a second."""
    began = time.monotonic()
    assert transcribe()
    return SECONDS / (time.monotonic() - began)
