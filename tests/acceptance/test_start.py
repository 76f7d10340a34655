"""A coordinator starts quickly and needs no engine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from support.agents import Agent, running

pytestmark = [pytest.mark.system, pytest.mark.acceptance]

ENGINES = (
    "torch", "diffusers", "transformers", "whisper", "faster_whisper", "ctranslate2", "onnx_asr", "onnxruntime", "PIL", "numpy", "accelerate",
    "safetensors", "peft", "gguf", "tokenizers", "xllamacpp", "llguidance", "tiktoken", "numba", "ffmpeg", "bpy", "kokoro_onnx", "piper", "av",
)  # fmt: skip
SERVICES = [
    "ai_inference",
    "blender_rendering",
    "image_generation",
    "llm_inference",
    "speech_synthesis",
    "text_embedding",
    "text_reranking",
    "video_transcoding",
    "whisper_transcription",
]
LIBRARIES = (
    "import alembic.command, fastapi, httpx, nacl.signing, pydantic, sqlalchemy, structlog, typer, uvicorn"
)
TIMES_THE_LIBRARIES = 3
"""A start takes about 2.4 times the processor time of importing these libraries, which every start needs."""

BLOCKER = f"""
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ENGINES!r}:
            raise ImportError(f"{{name}} is not installed here")


sys.meta_path.insert(0, Blocker())
"""


def seconds_of_the_libraries() -> float:
    """Return the processor time of an interpreter that only imports them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", LIBRARIES], timeout=300, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_coordinator_without_engines_responds_soon_after_its_start(tmp_path: Path) -> None:
    """Compares the processor time from the start to the registry's response with that of importing the libraries."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for engine in ("torch", "numpy"):
        blocked = subprocess.run(
            [sys.executable, "-c", f"import {engine}"],
            env=environment,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert f"{engine} is not installed here".encode() in blocked.stderr
    agent = Agent(tmp_path / "data", "coordinator", "--port", "0", PYTHONPATH=environment["PYTHONPATH"])
    with running(agent):
        services = httpx.get(f"{agent.url}/v1/registry/services", timeout=120).json()["services"]
        assert agent.process is not None
        used = psutil.Process(agent.process.pid).cpu_times()
    assert [service["service_id"] for service in services] == SERVICES
    assert used.user + used.system < TIMES_THE_LIBRARIES * seconds_of_the_libraries()
