"""Speech for the tests, and a device that does not disturb other tests."""

from __future__ import annotations

import subprocess

import pytest

from runners.api import Device
from support.inputs.speech import SENTENCE, STORY, read_samples


@pytest.fixture(scope="session")
def device():
    """One thread: several wait for each other in busy loops where other tests run beside them."""
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """The sentence, spoken: about seven seconds."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    subprocess.run(
        ["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), SENTENCE], check=True, timeout=120
    )
    return path


@pytest.fixture(scope="session")
def long_speech(tmp_path_factory):
    """The story, spoken: three of Whisper's windows."""
    path = tmp_path_factory.mktemp("speech") / "story.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), STORY], check=True, timeout=120)
    return path


@pytest.fixture(scope="session")
def samples(speech):
    """The sentence as samples at Whisper's rate."""
    return read_samples(speech)
