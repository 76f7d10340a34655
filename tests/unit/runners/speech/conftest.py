"""A real voice of Piper, from a package of the Python package index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from runners.api import Device, Model, Tools
from runners.speech import SpeechRunner

VOICE = "piper-en-us-joe"


@pytest.fixture(scope="module")
def voice() -> Model:
    directory = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models") / VOICE
    if not (directory / "en_US-joe-medium.onnx").is_file():
        pytest.fail(f"The voice is not in {directory}; run `make setup`.")
    return Model(VOICE, directory, engines=("piper-tts",))


@pytest.fixture(scope="module")
def runner(voice: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechRunner]:
    tools = Tools(models_dir=tmp_path_factory.mktemp("models"), cache_dir=tmp_path_factory.mktemp("cache"))
    loaded = SpeechRunner(tools, Device("cpu", "test processor", threads=2))
    loaded.load(voice)
    yield loaded
    loaded.close()
