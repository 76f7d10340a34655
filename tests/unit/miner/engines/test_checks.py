"""The checks of the shipped engines where NVML shows a card and CUDA does not start, with the real engines and a stand-in for libcuda."""

from __future__ import annotations

import json
import sys
import sysconfig
import venv
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.core.errors import AgentError
from agent.miner.engines.catalogue import load_engines
from agent.miner.engines.environments import IN_USE, RECORD, EngineEnvironment, EngineRecord, read_environment
from agent.miner.engines.installer import Installer
from agent.miner.machine.gpus import Gpu
from cuda_shim.shim import build
from cuda_shim.states import STATES, WORDS, Words, usual

pytestmark = pytest.mark.system

CARD = Gpu("GPU-1", 0, "Card", 24 * 2**30, 23 * 2**30, "8.9", "580.65.06", None, None, None)

LIBRARY = {"faster-whisper": "CTranslate2", "diffusers": "torch", "vllm": "torch"}
"""The library whose words the check of an engine fails with. vLLM itself is not in this environment: its check comes that far without."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cuda")
    build(directory)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has what this one has."""
    path = tmp_path_factory.mktemp("engines") / "engine" / "digest"
    venv.create(path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = sysconfig.get_path("purelib")
    (path / f"lib/python{version}/site-packages/own.pth").write_text(f"{own}\n")
    record = EngineRecord("engine", "cuda", "digest", version, 1, (), 0)
    (path / RECORD).write_text(json.dumps(asdict(record)))
    (path / IN_USE).touch()
    return path


@pytest.fixture
def environment(directory: Path) -> EngineEnvironment:
    environment = read_environment(directory)
    assert environment is not None
    return environment


def check(name: str, environment: EngineEnvironment, *cards: Gpu) -> None:
    """Run the check of a shipped engine, without that of its runner."""
    engines_dir = environment.path.parent
    Installer(engines_dir, {}, cache_dir=engines_dir / "cache", check_seconds=600, cards=cards).check(
        load_engines()[name], environment
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param(
            name, words, id=f"{name}, {words.state.name}", marks=usual(words, first=name == "diffusers")
        )
        for name, library in LIBRARY.items()
        for words in WORDS
        if words.engine == library and words.seen == "here"
    ],
)
def test_a_check_fails_with_the_librarys_words_and_says_what_to_do(
    name: str, words: Words, environment: EngineEnvironment, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = words.state
    for variable, value in state.environment(library).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(AgentError) as caught:
        check(name, environment, CARD)
    assert words.text in str(caught.value)
    assert state.remedy in str(caught.value)


@pytest.mark.ship
def test_without_a_card_in_nvml_a_check_computes_on_the_processor(
    environment: EngineEnvironment, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an image that is built on a machine without a card. The variable of the environment is not passed on."""
    for variable, value in STATES[0].environment(library).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AITBC_CARD", "GPU-1")
    check("faster-whisper", environment)
    check("diffusers", environment)
