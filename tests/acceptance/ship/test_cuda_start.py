"""Engines that the tests' environment lacks, really installed, on a machine whose card NVML shows and on which CUDA does not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nvml_shim.shim
from cuda_shim.shim import build
from cuda_shim.states import WORDS, Words
from nvml_shim.shim import TWO_CARDS, NvmlShim
from support.agents import COMMAND

LIBRARY = {"onnx-asr": "ONNX Runtime", "bpy": "Cycles"}
"""The library whose words the check of an engine fails with."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines that were installed before the machine had a card."""
    directory = tmp_path_factory.mktemp("engines")
    build(directory / "cuda")
    installed = aitbc_agent(directory, "install", *LIBRARY, "--variant", "cuda", seconds=1500)
    assert installed.returncode == 0, installed.stderr
    return directory


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="bpy is for Python 3.11")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param(name, words, id=f"{name}, {words.state.name}")
        for name, library in LIBRARY.items()
        for words in WORDS
        if words.engine == library
    ],
)
def test_an_installed_engine_says_why_it_does_not_get_the_card(name: str, words: Words, home: Path) -> None:
    shim = NvmlShim(nvml_shim.shim.build(home / "nvml"), home / "cards", TWO_CARDS[:1], driver="580.65.06")
    libraries = os.pathsep.join((str(home / "cuda"), str(shim.library)))
    words.state.environment(home / "cuda")
    variables = {"LD_LIBRARY_PATH": libraries, "NVML_SHIM_FILE": str(shim.file)}
    checked = aitbc_agent(home, "check", name, "--json", seconds=300, **variables)
    (result,) = json.loads(checked.stdout)
    assert (checked.returncode, result["works"]) == (1, False)
    fault = str(result["fault"])
    assert words.text in fault
    assert words.state.remedy in fault


def aitbc_agent(
    home: Path, *words: str, seconds: float, **variables: str
) -> subprocess.CompletedProcess[Any]:
    own = {
        "AITBC_DATA_DIR": str(home / "data"),
        "AITBC_CACHE_DIR": str(home / "cache"),
        "AITBC_ENGINES__DIRECTORY": str(home / "engines"),
        "AITBC_ENGINES__CHECK_SECONDS": "600",
    }
    return subprocess.run(
        [COMMAND, "engines", *words],
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
