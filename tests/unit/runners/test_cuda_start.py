"""A job on a card where CUDA does not start, in a real child process with a real engine and a stand-in for libcuda."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cuda_shim.shim import build
from cuda_shim.states import STATES, WORDS, Words, usual
from runners.api import Device, Model, Tools
from runners.host.protocol import Load
from support.inputs.diffusion import NAME, make_untrained

pytestmark = pytest.mark.system

CARD = Device("cuda", "Card", "GPU-1", memory=24 * 2**30, compute_capability="8.9")

SPEECH = """
import sys, types
from pathlib import Path
from runners.api import Device, Model
from runners.whisper import cublas, engines
# It is no part of the tests' environment; CUDA's start comes first.
cublas.load = lambda: True
try:
    engines.open_engine("faster-whisper", Model("tiny.en", Path(sys.argv[1])), Device("cuda", "Card", "GPU-1"))
except Exception as error:
    print(error.code, error)
"""
"""Loads a model of speech as the runner does. Its files are not read before CUDA has started."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cuda")
    build(directory)
    return directory


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(NAME, make_untrained(tmp_path_factory.mktemp("diffusion") / NAME))


def of(engine: str) -> list[Any]:
    return [
        pytest.param(words, id=words.state.name, marks=usual(words))
        for words in WORDS
        if (words.engine, words.seen) == (engine, "here")
    ]


@pytest.mark.parametrize("words", of("torch"))
def test_a_model_that_torch_cannot_load_says_what_to_do(
    start_child: Any, words: Words, library: Path, untrained: Model
) -> None:
    """It is the fault of nobody: neither the model's nor, for the coordinator, the machine's."""
    child = start_child("image_generation", words.state.environment(library))
    child.configure(Tools(), CARD)
    child.send(Load(model=untrained))
    error = child.until("error", "loaded")
    assert (error.type, error.kind, error.code) == ("error", "retry", "GPU_UNSUPPORTED"), error
    assert words.state.remedy in error.message


@pytest.mark.parametrize("words", of("CTranslate2"))
def test_a_model_that_ctranslate2_cannot_load_says_what_to_do(
    words: Words, library: Path, tmp_path: Path
) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "preprocessor_config.json"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [sys.executable, "-c", SPEECH, str(tmp_path)],
        env={**os.environ, **words.state.environment(library)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.startswith("GPU_UNSUPPORTED "), done.stdout + done.stderr
    assert words.state.remedy in done.stdout


def test_every_state_has_words_of_a_real_engine() -> None:
    for state in STATES:
        assert {words.engine for words in WORDS if words.state is state and words.seen == "here"} == {
            "torch",
            "CTranslate2",
        }
