"""Engines that compute in the child process show that they work although they report nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from decimal import Decimal

import numpy as np
import pytest

from runners import activity
from runners.activity import working
from runners.api import Device, Model
from runners.whisper.request import TranscribeRequest
from runners.whisper.runner import WhisperRunner

CPU = Device("cpu", "test processor", threads=1)
CARD = Device("cuda", "a card", "GPU-1")
LIMIT = 300


@pytest.fixture
def context(make_context):
    made = make_context({})
    made.progress(7, Decimal(3))
    made.repeated = threading.Event()
    made.on_progress = made.repeated.set
    return made


def busy(until: threading.Event) -> bool:
    while not until.is_set():
        sum(range(10_000))
    return True


@pytest.mark.ship
def test_a_run_that_uses_the_processor_repeats_its_last_progress(context):
    stop = threading.Timer(LIMIT, context.repeated.set)
    stop.start()
    with working(context, CPU, poll_seconds=0.01):
        busy(context.repeated)
    stop.cancel()
    assert context.reported[1] == (7, Decimal(3))


def test_a_run_that_waits_repeats_nothing(context, monkeypatch):
    """Though the watch itself uses the processor a little."""
    polls = iter(range(100))
    monkeypatch.setattr(activity.time, "process_time", lambda: next(polls) * 0.004)
    with working(context, CPU, poll_seconds=0.001):
        while next(polls) < 90:
            pass
    assert len(context.reported) == 1


def test_a_gpu_is_not_watched(context):
    """An engine may wait for it busily although it hangs."""
    with working(context, CARD, poll_seconds=0.001):
        assert "activity" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.ship
def test_a_transcription_whose_first_batch_takes_long_is_not_silent(tools, context, monkeypatch):
    class Engine:
        weights = ()
        precision = "int8"

        def transcribe(self, *_):
            busy(context.repeated)
            return "en"

    runner = WhisperRunner(tools, CPU)
    runner._engine, runner._model = Engine(), Model("tiny.en", tools.models_dir / "tiny.en")
    monkeypatch.setattr(runner, "_decode", lambda _: np.ones(16_000, dtype=np.float32))
    request = TranscribeRequest(audio_url="https://example.com/a.mp3", model="tiny.en")
    stop = threading.Timer(LIMIT, context.repeated.set)
    context.on_progress = lambda: len(context.reported) > 2 and context.repeated.set()
    stop.start()
    runner.run(request, context)
    stop.cancel()
    assert len(context.reported) > 2


def test_threads_of_ctranslate2_sleep_soon_while_they_wait():
    """Its OpenMP reports the settings that it has read."""
    code = (
        "from runners.whisper import faster\nfrom runners.api import Device, Model\nfrom pathlib import Path\n"
        "try:\n    faster.FasterWhisper(Model('none', Path('/nowhere')), Device('cpu', 'any'))\n"
        "except Exception as error: print(error)\n"
    )
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert "GOMP_SPINCOUNT = '2000'" in done.stderr
