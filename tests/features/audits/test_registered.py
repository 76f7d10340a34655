"""What a miner states about a run, compared with its registration."""

from __future__ import annotations

import pytest

from agent.coordinator.features.audits.rules import contradiction

GPUS = {"GPU-1": "NVIDIA L4", "GPU-2": "NVIDIA L4"}
WHISPER = ("whisper_transcription", "whisper", "0.2.0+1.2.1")
PYTHON = ("ai_inference", "python", "0.2.0+3.12.4")


@pytest.mark.parametrize(
    ("device", "gpus", "runner", "python"),
    [
        (("cpu", "any processor", None), {}, WHISPER, None),
        (("cpu", "any processor", None), GPUS, WHISPER, None),
        (("cuda", "NVIDIA L4", "GPU-2"), GPUS, WHISPER, None),
        (("cuda", "2 x NVIDIA L4", "GPU-1,GPU-2"), GPUS, WHISPER, None),
        (("cpu", "any processor", None), {}, PYTHON, "3.12.4"),
        (("cpu", "any processor", None), {}, PYTHON, None),
        (("cpu", "any processor", None), {}, WHISPER, "3.8"),
    ],
)
def test_an_honest_statement_contradicts_nothing(device, gpus, runner, python) -> None:
    assert contradiction(device, gpus, runner, python) == ""


@pytest.mark.parametrize(
    ("device", "runner", "python", "words"),
    [
        (("cuda", "NVIDIA L4", "GPU-3"), WHISPER, None, "the GPU 'GPU-3'"),
        (("cuda", "NVIDIA L4", None), WHISPER, None, "the GPU ''"),
        (("cuda", "NVIDIA L4", "GPU-1,GPU-3"), WHISPER, None, "the GPU 'GPU-3'"),
        (("cuda", "NVIDIA H100", "GPU-1"), WHISPER, None, "the device 'NVIDIA H100'"),
        (("cuda", "NVIDIA L4", "GPU-1,GPU-2"), WHISPER, None, "has registered 'NVIDIA L4'"),
        (("cuda", "\x1b[2J", "GPU-1"), WHISPER, None, "'\\x1b[2J'"),
        (("cpu", "any processor", None), PYTHON, "3.8.1", "Python '3.8.1'"),
        (("cpu", "any processor", None), PYTHON, {"x": 1}, "Python {'x': 1}"),
    ],
)
def test_attack_what_was_not_registered_is_named(device, runner, python, words) -> None:
    assert words in contradiction(device, GPUS, runner, python)
