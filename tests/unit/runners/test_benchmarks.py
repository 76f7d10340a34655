"""Each runner's benchmark is a valid request with the stated metric."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners.api import Benchmark, Device, Retry, Tools
from runners.ffmpeg import FFmpegRunner
from runners.python_model import PythonModelRunner
from runners.registry import installed
from runners.whisper import WhisperRunner
from runners.whisper import request as whisper_request
from runners.whisper.runner import BENCHMARK_TEXT


def made_by(runner: Any, tools: Tools, directory: Path) -> tuple[Benchmark, Any]:
    """Return the benchmark, and its request in the runner's form."""
    benchmark = runner.benchmark(tools, directory)
    model = {} if runner.definition.model_field is None else {runner.definition.model_field: "any"}
    return benchmark, runner.definition.input_model.model_validate({**benchmark.parameters, **model})


@pytest.mark.parametrize("service", installed())
def test_every_runner_can_be_measured(service: str, tools: Tools, tmp_path: Path) -> None:
    """The request is valid, and its files exist for fields of the service."""
    runner = installed()[service]
    benchmark, _ = made_by(runner, tools, tmp_path)
    assert benchmark.metric
    assert benchmark.scale > 0
    assert benchmark.files.keys() <= runner.definition.file_fields().keys()
    assert all(path.is_file() and path.is_relative_to(tmp_path) for path in benchmark.files.values())
    assert runner.definition.model_field not in benchmark.parameters


@pytest.mark.ship
def test_the_pictures_of_a_transcoding_are_counted(
    tools: Tools, device: Device, make_context: Callable[..., Any], tmp_path: Path
) -> None:
    benchmark, request = made_by(FFmpegRunner, tools, tmp_path)
    result = FFmpegRunner(tools, device).run(request, make_context(benchmark.files))
    command = [
        "ffprobe",
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
    ]
    counted = subprocess.run(
        [*command, str(result.results["file"].path)], check=True, capture_output=True, text=True, timeout=120
    )
    assert round(benchmark.scale * result.units) == int(counted.stdout)


def test_a_python_model_is_run(
    tools: Tools, device: Device, make_context: Callable[..., Any], tmp_path: Path
) -> None:
    benchmark, request = made_by(PythonModelRunner, tools, tmp_path)
    result = PythonModelRunner(tools, device).run(request, make_context(benchmark.files))
    assert result.results == {"total": sum(number * number % 7 for number in range(1_000_000))}


def test_the_spoken_passage_fits_into_one_window(tools: Tools, tmp_path: Path) -> None:
    """Whisper's window is 30 seconds; no character has a meaning in ffmpeg's filter syntax."""
    benchmark, request = made_by(WhisperRunner, tools, tmp_path)
    assert isinstance(request, whisper_request.TranscribeRequest)
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(benchmark.files["audio_url"])],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert 15 < float(probed.stdout) < 30
    assert not set(BENCHMARK_TEXT) & set("':,;[]\\")


def test_an_ffmpeg_that_cannot_make_the_input_is_reported_as_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'No such filter: flite' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(
        Retry, match=r"cannot make the test input \(No such filter: flite\); install a complete"
    ):
        WhisperRunner.benchmark(Tools(ffmpeg=str(broken)), tmp_path)
